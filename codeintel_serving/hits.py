"""Hits as the faces show them, and how they are shortened."""

from __future__ import annotations

from codeintel_core.retrieval.engine import Hit
from codeintel_serving.budgeting import Rung, trimmed
from codeintel_serving.models import ChannelScore, SearchHit


def search_hit(hit: Hit) -> SearchHit:
    """The model of a hit."""
    chunk = hit.chunk
    return SearchHit(
        id=f"{chunk.repo}:{chunk.path}:{chunk.start_line}-{chunk.end_line}",
        repo=chunk.repo,
        path=chunk.path,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        symbol=chunk.symbol,
        kind=chunk.kind,
        language=chunk.language,
        score=round(hit.score, 6),
        rank=hit.rank,
        channels={name: ChannelScore(rank=at.rank, score=at.score) for name, at in hit.channels.items()},
        snippet=chunk.text,
    )


def shorter_hit(hit: SearchHit, rung: Rung) -> SearchHit:
    """The hit with as much of its text as the rung shows; the signature is its first line."""
    lines = {Rung.FULL: hit.snippet, Rung.TRIMMED: trimmed(hit.snippet), Rung.SIGNATURE: trimmed(hit.snippet, 1)}
    changes: dict[str, object] = {"snippet": lines.get(rung, "")}
    if rung is Rung.PLACE:
        changes["channels"] = {}
    return hit.model_copy(update=changes)


def file_of_hit(hit: SearchHit) -> str:
    """`repo:path` of a hit."""
    return f"{hit.repo}:{hit.path}"
