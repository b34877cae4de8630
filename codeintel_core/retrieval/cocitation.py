"""Files that people open together: a candidate whose file goes with one of the best files goes up.

Pairs are learned and promoted like the weights ([tuning](tuning.py)); without any this channel is off. It looks nothing
up: only candidates that another channel found can go up, so nothing outside the scope can come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from codeintel_core.catalog import ChunkPlace, ChunkRow
from codeintel_core.retrieval.channels import COCITATION, ChannelResult
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.retrieval.priors import ordered
from codeintel_core.telemetry import Status, metrics, step

SEEDS = 3
"""How many of the best files others are looked up for."""
MOST_OF_GAP = 0.99
"""How far a file comes up to the one that it goes with: never past it."""
RANGE = (0.0, 1.0)
"""Values are taken as they are, not scaled by the lowest and highest of a query."""
NOT_PROMOTED = "not_promoted"
_KIND = f"retrieve.{COCITATION}"

Neighbours = dict[str, dict[str, dict[str, Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]]]]
"""Repository -> file -> file that goes with it -> similarity (cosine of the sessions that opened them)."""


class Pairs(BaseModel):
    """What was learned about files that go together; the default is nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    """What a similarity of 1 adds to a score."""
    neighbours: Neighbours = Field(default_factory=dict)

    @property
    def count(self) -> int:
        """Neighbours of all files."""
        return sum(len(near) for files in self.neighbours.values() for near in files.values())


NO_PAIRS = Pairs()


def retrieve(
    scores: Mapping[int, float], chunks: Mapping[int, ChunkPlace | ChunkRow], repos: Iterable[str], pairs: Pairs
) -> ChannelResult:
    """The channel's answer, as one step; skipped when nothing is known about the repositories.

    Args:
        scores: of the candidates, by id.
        chunks: of the candidates, by id.
        repos: what is searched.
        pairs: those that count.
    """
    current = step(_KIND)
    if not any(repo in pairs.neighbours for repo in repos):
        reason = "no pairs of what was searched" if pairs.neighbours else NOT_PROMOTED
        current.end(Status.SKIPPED, reason)
        return ChannelResult((np.empty(0, np.int64), np.empty(0, np.float32)), Status.SKIPPED, reason)
    with current:
        ranked = together(scores, chunks, pairs)
        current.set(hits=len(ranked[0]), weight=pairs.weight)
    metrics.CHANNEL_RESULTS.labels(COCITATION, Status.COMPLETED.value).inc()
    metrics.CHANNEL_CANDIDATES.labels(COCITATION).observe(len(ranked[0]))
    return ChannelResult(ranked, Status.COMPLETED)


def together(scores: Mapping[int, float], chunks: Mapping[int, ChunkPlace | ChunkRow], pairs: Pairs) -> Ranked:
    """Best chunks of files that go with one of the `SEEDS` best: (N,) ids and (N,) values 0..1, highest first.

    The value is the similarity, less where `pairs.weight` of it would lift the chunk past the file that it goes with.
    A chunk that goes with several of them has the value that lifts it most; ties are in the order of ids.
    """
    best: dict[tuple[str, str], int] = {}
    for chunk_id in ordered(scores):
        best.setdefault((chunks[chunk_id].repo, chunks[chunk_id].path), chunk_id)
    found: dict[int, float] = {}
    for (repo, path), seed in islice(best.items(), SEEDS):
        for near, similarity in pairs.neighbours.get(repo, {}).get(path, {}).items():
            chunk_id = best.get((repo, near), seed)
            gap = scores[seed] - scores[chunk_id]
            if gap > 0:
                found[chunk_id] = max(found.get(chunk_id, 0.0), min(similarity, MOST_OF_GAP * gap / pairs.weight))
    ids = sorted(found, key=lambda chunk_id: (-found[chunk_id], chunk_id))
    return np.array(ids, np.int64), np.array([found[chunk_id] for chunk_id in ids], np.float32)


def lift(ranked: Ranked, weight: float, *scores: dict[int, float]) -> None:
    """Add what the channel found to these scores, in place."""
    for chunk_id, value in zip(*(part.tolist() for part in ranked), strict=True):
        for by_id in scores:
            by_id[chunk_id] += weight * value
