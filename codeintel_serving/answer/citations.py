"""Citations: chosen from the hits, compared byte for byte with the pinned blob, dropped and counted otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from codeintel_core.errors import GitFailed
from codeintel_core.generations.generation import Generation
from codeintel_core.injection import signs
from codeintel_core.retrieval.engine import Hit
from codeintel_core.telemetry import metrics
from codeintel_serving.answer.confidence import relevance
from codeintel_serving.models import Citation

_SHARE_OF_BEST = 0.5


@dataclass(frozen=True, slots=True)
class Verified:
    """Hits that may be cited, in order, and how many were dropped."""

    hits: list[Hit]
    dropped: int


def choose(question: str, hits: Sequence[Hit], most: int, *, is_reranked: bool = False) -> list[Hit]:
    """The hits worth citing: those that score, and match the question, at least half as well as the best.

    After a reranker, whatever it puts above the best match is worth citing too.
    """
    fits = {hit.rank: relevance(question, hit) for hit in hits}
    best = max(fits, key=lambda rank: fits[rank])
    score, fit = _SHARE_OF_BEST * max(hit.score for hit in hits), _SHARE_OF_BEST * fits[best]
    return [
        hit
        for hit in hits
        if (is_reranked and hit.rank < best) or ((is_reranked or hit.score >= score) and fits[hit.rank] >= fit)
    ][:most]


def verify(hits: Sequence[Hit], generations: Mapping[str, Generation]) -> Verified:
    """Keep the hits whose text equals the bytes of the blob in the commit pinned by their generation (by id)."""
    is_exact = dict.fromkeys(range(len(hits)), False)
    for gen_id in dict.fromkeys(hit.gen_id for hit in hits):
        mine = [at for at, hit in enumerate(hits) if hit.gen_id == gen_id]
        is_exact |= zip(mine, _matching([hits[at] for at in mine], generations[gen_id]), strict=True)
    kept = [hit for at, hit in enumerate(hits) if is_exact[at]]
    dropped = len(hits) - len(kept)
    metrics.CITATIONS.labels("verified").inc(len(kept))
    metrics.CITATIONS.labels("dropped").inc(dropped)
    return Verified(kept, dropped)


def _matching(hits: Sequence[Hit], generation: Generation) -> list[bool]:
    try:
        return generation.matching([hit.chunk for hit in hits])
    except GitFailed:
        return [False] * len(hits)


def citation(number: int, hit: Hit, generation: Generation) -> Citation:
    """The citation `[number]` of a verified hit."""
    chunk, manifest = hit.chunk, generation.manifest
    return Citation(
        id=number,
        repo=chunk.repo,
        path=chunk.path,
        start_line=chunk.start_line,
        end_line=chunk.end_line,
        symbol=chunk.symbol,
        commit=manifest.commit,
        blob=chunk.blob,
        chunk_id=str(chunk.chunk_id),
        generation=manifest.gen_id,
        dagster_run_id=manifest.dagster_run_id,
        verified=True,
        suspicious=list(signs(chunk.text)),
        snippet=chunk.text,
    )
