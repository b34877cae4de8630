"""Priors: what is known about a chunk apart from its scores — its file's class, its symbol, its path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from codeintel_core.analysis import query_terms, terms
from codeintel_core.catalog import ChunkRow

_CLASS_FACTOR = {
    "source": 1.0,
    "docs": 0.8,
    "config": 0.8,
    "example": 0.7,
    "test": 0.6,
    "generated": 0.5,
    "vendored": 0.5,
    "minified": 0.3,
}
_DEFINES = 0.25
_STEM_MATCH = 0.15
_COHERENCE = 0.1
_DECAY = 0.85


def apply(query: str, fused: Mapping[int, float], chunks: Mapping[int, ChunkRow]) -> dict[int, float]:
    """Scores after priors, for the chunks that were hydrated.

    In order: factor of the file's class; a bonus for the chunk that defines an asked name; a bonus when query words
    match the file's stem; a bonus for files with several good chunks; then decay for further chunks of one file.
    """
    asked = set(query_terms(query))
    names = {word.strip("`'\"()?,.").lower() for word in query.split()}
    scored: dict[int, float] = {}
    for chunk_id, score in fused.items():
        chunk = chunks.get(chunk_id)
        if chunk is None:
            continue
        bonus = _DEFINES if chunk.name and {chunk.name.lower(), chunk.symbol.lower()} & names else 0.0
        bonus += _STEM_MATCH * _stem_overlap(chunk.path, asked)
        scored[chunk_id] = (score + bonus) * _CLASS_FACTOR.get(chunk.file_class, 1.0)
    return _decay_within_files(_add_coherence(scored, chunks), chunks)


def _stem_overlap(path: str, asked: set[str]) -> float:
    parts = path.rsplit("/", 2)
    stem = set(terms(parts[-1].split(".")[0]))
    folder = set(terms(parts[-2])) if len(parts) > 1 else set()
    found = len(stem & asked) / max(1, len(stem)) + 0.5 * len(folder & asked) / max(1, len(folder))
    return min(1.0, found)


def _add_coherence(scored: dict[int, float], chunks: Mapping[int, ChunkRow]) -> dict[int, float]:
    totals: dict[tuple[str, str], float] = {}
    for chunk_id, score in scored.items():
        key = (chunks[chunk_id].repo, chunks[chunk_id].path)
        totals[key] = totals.get(key, 0.0) + score
    top = max(totals.values(), default=0.0) or 1.0
    return {
        chunk_id: score + _COHERENCE * totals[(chunks[chunk_id].repo, chunks[chunk_id].path)] / top
        for chunk_id, score in scored.items()
    }


def _decay_within_files(scored: dict[int, float], chunks: Mapping[int, ChunkRow]) -> dict[int, float]:
    seen: dict[tuple[str, str], int] = {}
    out: dict[int, float] = {}
    for chunk_id in ordered(scored):
        key = (chunks[chunk_id].repo, chunks[chunk_id].path)
        out[chunk_id] = scored[chunk_id] * _DECAY ** seen.get(key, 0)
        seen[key] = seen.get(key, 0) + 1
    return out


def ordered(scored: Mapping[int, float]) -> Iterable[int]:
    """Chunk ids by falling score; ties by id, so that the order is the same every time."""
    return sorted(scored, key=lambda chunk_id: (-scored[chunk_id], chunk_id))
