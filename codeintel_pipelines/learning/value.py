"""What a ranking is worth by its clicks, when clicks follow the rank as well as what people want.

Nobody knows how much of the fall of clicks with the rank is habit (people look at the first ones) and how much is that
good files are on top already. So every number is taken at both ends. If rank explains nothing, each click counts 1. If
rank explains all of it, each click counts 1 / (how often that rank is clicked, against the first): then clicks that are
random given the rank are worth the same under every order of the files that were shown, and no order can seem better.
The truth lies between (inverse propensity scoring; Joachims, Swaminathan and Schnabel, 2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from codeintel_pipelines.evaluation.metrics import Difference, paired
from codeintel_pipelines.learning.log import Floats, Log

ALL, NOTHING = "rank_explains_all", "rank_explains_nothing"
_LEAST_LOOKED_AT = 0.05  # a click counts 20 at most, or a single one at the end would decide
NDCG, MRR = "ndcg", "mrr"
_GAINS = {NDCG: lambda rank: 1 / np.log2(1 + rank), MRR: lambda rank: 1 / rank}


def looked_at(log: Log) -> dict[str, Floats]:
    """(H,) chance that a shown file is looked at by rank, against the first one, at both ends.

    Rates are smoothed upwards only (never rising with the rank, at least .05), which makes a click at a low rank count
    less than it may, never more.
    """
    places = np.arange(log.clicks.shape[1])
    clicked = log.clicks.sum(axis=0)
    shown = (log.counts[:, None] > places).sum(axis=0)
    rate = (clicked + 1) / (shown + 1)
    falling = np.maximum.accumulate(rate[::-1])[::-1]
    steep: Floats = np.clip(falling / falling[0], _LEAST_LOOKED_AT, 1.0)
    return {ALL: steep, NOTHING: np.ones(len(places))}


def by_session(log: Log, ranked: NDArray[np.int64], chance: Floats, metric: str = NDCG) -> Floats:
    """(S,) discounted clicks of each session, over what a session's clicks count on average: about 0..1."""
    counted = log.clicks / chance
    gains = (counted * _GAINS[metric](ranked)).sum(axis=1)
    _, session = np.unique(log.sessions, return_inverse=True)
    total = np.bincount(session, weights=counted.sum(axis=1)).mean()
    found: Floats = np.bincount(session, weights=gains) / total
    return found


def change(
    log: Log, ours: NDArray[np.int64], theirs: NDArray[np.int64], chance: Floats, metric: str = NDCG
) -> Difference:
    """Mean change by session with its interval (bootstrap over sessions)."""
    return paired(by_session(log, ours, chance, metric), by_session(log, theirs, chance, metric))
