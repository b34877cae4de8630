"""Fusion of ranked lists: min-max score fusion (the default, see docs/decisions) and Reciprocal Rank Fusion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Ranked = tuple[NDArray[np.int64], NDArray[np.float32]]  # ids and scores, best first
RRF_K = 60


def by_scores(channels: Mapping[str, Ranked], weights: Mapping[str, float]) -> dict[int, float]:
    """Weighted sum of each channel's scores, scaled to 0..1 within the channel; a missing hit counts 0."""
    fused: dict[int, float] = {}
    for name, (ids, scores) in channels.items():
        if not len(ids):
            continue
        low, high = float(scores.min()), float(scores.max())
        scaled = (scores - low) / (high - low) if high > low else np.ones_like(scores)
        for chunk_id, value in zip(ids.tolist(), scaled.tolist(), strict=True):
            fused[chunk_id] = fused.get(chunk_id, 0.0) + weights[name] * value
    return fused


def by_ranks(channels: Mapping[str, Ranked], weights: Mapping[str, float], k: int = RRF_K) -> dict[int, float]:
    """Reciprocal Rank Fusion (Cormack et al., 2009): sum of weight / (k + rank), ranks from 1."""
    fused: dict[int, float] = {}
    for name, (ids, _) in channels.items():
        for rank, chunk_id in enumerate(ids.tolist(), 1):
            fused[chunk_id] = fused.get(chunk_id, 0.0) + weights[name] / (k + rank)
    return fused
