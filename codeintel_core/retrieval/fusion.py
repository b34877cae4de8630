"""Fusion of ranked lists: min-max score fusion (the default, see docs/decisions) and Reciprocal Rank Fusion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]  # ids and scores, best first
Fusion = Callable[[Mapping[str, Ranked], Mapping[str, float]], dict[int, float]]
Scaled = NDArray[np.floating[Any]]
RRF_K = 60
# A BM25 list has a long tail of middling scores: a hit at half the best score is less than half as good.
_EXPONENT = {"lexical": 1.5}


def by_scores(channels: Mapping[str, Ranked], weights: Mapping[str, float]) -> dict[int, float]:
    """Weighted sum of each channel's scores, scaled to 0..1 within the channel; a missing hit counts 0."""
    return _weighted(channels, weights, lambda name, scores: scaled(name, scores, *score_range(scores)))


def score_range(scores: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Lowest and highest score of a channel with hits."""
    return float(scores.min()), float(scores.max())


def scaled(name: str, scores: NDArray[np.floating[Any]], low: float, high: float) -> Scaled:
    """What `by_scores` adds up, before its weight: a channel's scores between its lowest and highest, as 0..1."""
    return _min_max(scores, low, high) ** _EXPONENT.get(name, 1.0)


def by_plain_scores(channels: Mapping[str, Ranked], weights: Mapping[str, float]) -> dict[int, float]:
    """`by_scores` without the exponent, for comparison."""
    return _weighted(channels, weights, lambda _, scores: _min_max(scores, *score_range(scores)))


def by_ranks(channels: Mapping[str, Ranked], weights: Mapping[str, float], k: int = RRF_K) -> dict[int, float]:
    """Reciprocal Rank Fusion (Cormack et al., 2009): sum of weight / (k + rank), ranks from 1."""
    return _weighted(channels, weights, lambda _, scores: 1 / (k + np.arange(1, len(scores) + 1)))


def by_scaled_ranks(channels: Mapping[str, Ranked], weights: Mapping[str, float]) -> dict[int, float]:
    """`by_ranks` stretched to 0..1, the range that priors expect."""
    fused = by_ranks(channels, weights)
    top = max(fused.values(), default=1.0) or 1.0
    return {chunk_id: score / top for chunk_id, score in fused.items()}


def by_equal_ranks(channels: Mapping[str, Ranked], weights: Mapping[str, float]) -> dict[int, float]:
    """`by_scaled_ranks` with the same weight for every channel."""
    return by_scaled_ranks(channels, dict.fromkeys(weights, 1.0))


FUSIONS: dict[str, Fusion] = {
    "scores": by_scores,
    "plain_scores": by_plain_scores,
    "rrf": by_scaled_ranks,
    "equal_rrf": by_equal_ranks,
}
"""Every fusion by name; `scores` is the default, the others are there to be compared with."""


def _min_max(scores: NDArray[np.floating[Any]], low: float, high: float) -> Scaled:
    found: Scaled = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    return found


def _weighted(
    channels: Mapping[str, Ranked],
    weights: Mapping[str, float],
    value_of: Callable[[str, NDArray[np.float32]], Scaled],
) -> dict[int, float]:
    fused: dict[int, float] = {}
    for name, (ids, scores) in channels.items():
        if not len(ids):
            continue
        for chunk_id, value in zip(ids.tolist(), value_of(name, scores).tolist(), strict=True):
            fused[chunk_id] = fused.get(chunk_id, 0.0) + weights[name] * value
    return fused
