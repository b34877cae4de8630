"""Reranking: the best candidates in the order of a cross-encoder, or as they were; always one step that says which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError
from codeintel_core.models.score import ScoreModel
from codeintel_core.retrieval.engine import Hit, SearchResult
from codeintel_core.retrieval.profile import QueryKind
from codeintel_core.telemetry import Status, note, step
from codeintel_serving.display import without_server_paths


@dataclass(frozen=True, slots=True)
class Reranked:
    """Hits after the reranker had its turn."""

    found: SearchResult
    is_reordered: bool = False
    problem: str = ""
    """Why the old order stayed although another was wanted."""


_BY_NAME = (QueryKind.IDENTIFIER, QueryKind.PATH)


def as_found(found: SearchResult, limit: int) -> Reranked:
    """The first `limit` hits as they were, where no reranker is configured."""
    note("rerank", Status.SKIPPED, "no reranker is configured")
    return Reranked(replace(found, hits=found.hits[:limit]))


async def rerank(
    model: ScoreModel, question: str, found: SearchResult, limit: int, deadline: Deadline, *, read: int
) -> Reranked:
    """The first `limit` hits after the best `read` of them were reranked; the others stay behind these, as they were.

    A name or a path is ranked by its definition, which a cross-encoder knows nothing of: those are left alone.
    """
    is_reordered = False
    candidates, others = found.hits[:read], found.hits[read:]
    try:
        with step("rerank", model=model.endpoint.model, candidates=len(candidates)) as current:
            if found.profile.kind in _BY_NAME:
                current.skip(f"{found.profile.kind} query")
            elif len(candidates) < 2:
                current.skip("nothing to reorder")
            else:
                scores = await model.score(question, [_document(hit) for hit in candidates], deadline)
                order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))
                current.set(moved=sum(at != rank for rank, at in enumerate(order)), best=round(max(scores), 4))
                found = replace(found, hits=_ranked([*(candidates[at] for at in order), *others]))
                is_reordered = True
    except CodeIntelError as error:
        why = f"not reranked: {without_server_paths(str(error))}"
        return Reranked(replace(found, hits=found.hits[:limit]), problem=why)
    return Reranked(replace(found, hits=found.hits[:limit]), is_reordered)


def _document(hit: Hit) -> str:
    chunk = hit.chunk
    return "\n".join(filter(None, [chunk.path, chunk.symbol, chunk.text]))


def _ranked(hits: Sequence[Hit]) -> list[Hit]:
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)]
