"""Retrieval metrics per query, and intervals by bootstrap over queries.

Gains are graded (nDCG of Järvelin and Kekäläinen, 2002, with the relevance itself as gain); recall and reciprocal rank
count whatever is relevant at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
METRICS = ("recall@10", "mrr@10", "ndcg@10")
_AT = 10
_RESAMPLES = 2_000
_SEED = 0


def recall(ranking: Sequence[str], relevant: Mapping[str, float], k: int = _AT) -> float:
    """Share of the relevant documents among the first `k`."""
    wanted = {doc for doc, grade in relevant.items() if grade > 0}
    return len(wanted & set(ranking[:k])) / len(wanted) if wanted else 0.0


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, float], k: int = _AT) -> float:
    """1 / rank of the first relevant document, 0 when it is not among the first `k`."""
    return next((1 / rank for rank, doc in enumerate(ranking[:k], 1) if relevant.get(doc, 0) > 0), 0.0)


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float], k: int = _AT) -> float:
    """Discounted gain of the first `k`, over that of the best order."""
    ideal = _dcg(sorted((grade for grade in relevant.values() if grade > 0), reverse=True)[:k])
    return _dcg([max(0.0, relevant.get(doc, 0.0)) for doc in ranking[:k]]) / ideal if ideal else 0.0


def _dcg(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def per_query(rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, float]]) -> dict[str, Values]:
    """Every metric of `METRICS` for each query of `qrels`, in its order."""
    measures = {"recall@10": recall, "mrr@10": reciprocal_rank, "ndcg@10": ndcg}
    return {
        name: np.array([measure(rankings.get(query, ()), relevant) for query, relevant in qrels.items()])
        for name, measure in measures.items()
    }


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean difference of two runs over the same queries."""

    mean: float
    low: float
    high: float
    p: float
    """Two-sided: how often a resample of the queries would show the opposite sign (or nothing)."""


def interval(values: Values) -> Interval:
    """Mean and percentile interval over resampled queries; the same every time."""
    if not len(values):
        return Interval(0.0, 0.0, 0.0)
    low, high = np.percentile(_resampled_means(values), [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def paired(ours: Values, theirs: Values) -> Difference:
    """Paired bootstrap of `ours - theirs`, one value per query in the same order."""
    differences = ours - theirs
    if not len(differences):
        return Difference(0.0, 0.0, 0.0, 1.0)
    means = _resampled_means(differences)
    low, high = np.percentile(means, [2.5, 97.5])
    p = min(1.0, 2 * min(float((means <= 0).mean()), float((means >= 0).mean())))
    return Difference(float(differences.mean()), float(low), float(high), p)


def _resampled_means(values: Values) -> Values:
    random = np.random.default_rng(_SEED)
    picks = random.integers(0, len(values), (_RESAMPLES, len(values)))
    means: Values = values[picks].mean(axis=1)
    return means
