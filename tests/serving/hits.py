"""Hits made by hand, for tests that need no index."""

from __future__ import annotations

from typing import Any

from codeintel_core.catalog import ChunkRow
from codeintel_core.retrieval.engine import ChannelRank, Hit


def hit(text: str, *, rank: int = 1, score: float = 1.0, cosine: float | None = None, **changes: Any) -> Hit:
    """A hit of the chunk `text`; found by the dense channel when a cosine is given, else by the lexical one."""
    values: dict[str, Any] = {
        "chunk_id": rank,
        "repo": "shop",
        "path": f"file{rank}.py",
        "blob": "b" * 40,
        "language": "python",
        "file_class": "source",
        "encoding": "utf-8",
        "kind": "function",
        "symbol": "",
        "name": "",
        "signature": "",
        "docstring": "",
        "start_line": 1,
        "end_line": text.count("\n") + 1,
        "start_byte": 0,
        "end_byte": len(text.encode()),
        "text": text,
    }
    channels = {"lexical": ChannelRank(rank, 3.0)} if cosine is None else {"dense": ChannelRank(rank, cosine)}
    return Hit(ChunkRow(**(values | changes)), "gen", rank, score, score, channels)
