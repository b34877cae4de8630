"""The calibration of confidence: signals of an answer -> probability that its first citation is relevant.

A logistic model with weights that are never negative, so that more of a signal never lowers it. Fitted by
`python -m benchmarks.confidence`, which prints `TABLE` and how well it holds on sets it was not fitted on
(docs/answers.md). One model per way of retrieving: a signal of a channel that did not run says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

HYBRID, LEXICAL, DENSE = "hybrid", "lexical", "dense"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Weight of each signal, its mean where the model was fitted, and the log-odds at these means."""

    weights: Mapping[str, float]
    means: Mapping[str, float]
    base: float

    def contributions(self, signals: Mapping[str, float]) -> dict[str, float]:
        """What each signal adds to the log-odds, compared with its mean."""
        return {name: weight * (signals[name] - self.means[name]) for name, weight in self.weights.items()}

    def probability(self, signals: Mapping[str, float]) -> float:
        """Probability (0..1) that the first citation is relevant."""
        return 1 / (1 + math.exp(-self.base - sum(self.contributions(signals).values())))


TABLE = {
    HYBRID: Calibration(
        weights={"words": 2.305, "lead": 4.335, "defines": 0.693},
        means={"words": 0.661, "lead": 0.442, "defines": 0.217},
        base=0.691,
    ),
    LEXICAL: Calibration(
        weights={"words": 3.504, "lead": 2.632, "defines": 1.16},
        means={"words": 0.694, "lead": 0.465, "defines": 0.22},
        base=0.403,
    ),
    DENSE: Calibration(
        weights={"words": 2.794, "lead": 4.495, "defines": 0.769},
        means={"words": 0.595, "lead": 0.393, "defines": 0.214},
        base=0.488,
    ),
}
"""Provenance: printed by `python -m benchmarks.confidence` on 2026-11-21 over the first citations of cosqa dev
(500 hybrid, 467 lexical, 500 dense), ctx-codebase-chunks (240, 245, 230) and repo-queries (120, 120, 119), int8 MiniLM.
Agreement of the channels is fitted too, and got no weight beside the lead, which it goes into. Fit again whenever the
ranking changes: the lead is made of its scores."""
