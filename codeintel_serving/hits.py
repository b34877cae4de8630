"""Hits as the faces show them, and how they are shortened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from codeintel_core.injection import signs
from codeintel_core.retrieval.engine import Hit
from codeintel_serving.budgeting import Rung, trimmed
from codeintel_serving.display import inline
from codeintel_serving.models import ChannelScore, Explanation, Lines, SearchHit
from codeintel_serving.suspicion import warnings_of


def search_hit(hit: Hit, weights: Mapping[str, float] | None = None, tuning_id: str = "") -> SearchHit:
    """The model of a hit; with the weights of its channels also how its score came about."""
    chunk = hit.chunk
    explanation = None
    if weights is not None:
        mine = {name: weights[name] for name in hit.channels if name in weights}
        explanation = Explanation(fused=round(hit.fused, 6), weights=mine, priors=hit.explain, tuning_id=tuning_id)
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
        matches=[Lines(start_line=start, end_line=end) for start, end in hit.matches],
        explanation=explanation,
        suspicious=list(signs(chunk.text)),
        snippet=chunk.text,
    )


def suspicions(hits: Sequence[Hit]) -> list[str]:
    """A warning that names the hits whose text speaks to a model, and how; none when there are none."""
    return warnings_of(
        (f"{c.repo}:{inline(c.path)}:{c.start_line}-{c.end_line}", signs(c.text)) for c in (hit.chunk for hit in hits)
    )


def shorter_hit(hit: SearchHit, rung: Rung) -> SearchHit:
    """The hit with as much of its text as the rung shows; the signature is its first line."""
    match rung:
        case Rung.FULL:
            return hit
        case Rung.TRIMMED:
            return hit.model_copy(update={"snippet": trimmed(hit.snippet)})
        case Rung.SIGNATURE:
            return hit.model_copy(update={"snippet": trimmed(hit.snippet, 1)})
        case Rung.PLACE:
            return hit.model_copy(update={"snippet": "", "channels": {}})


def file_of_hit(hit: SearchHit) -> str:
    """`repo:path` of a hit."""
    return f"{hit.repo}:{hit.path}"
