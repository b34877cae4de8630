"""The gate before the second stage: what more this query is worth, from how the first stage went.

Two things cost more than they usually give, so neither is done for every query: a second pass of the words (RM3,
`feedback.py`), and reading more candidates when they may lie in many catalogs. Measured in docs/retrieval.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codeintel_core.deadline import Deadline
from codeintel_core.retrieval.blend import margin
from codeintel_core.retrieval.budget import Budget
from codeintel_core.retrieval.channels import LEXICAL
from codeintel_core.retrieval.fusion import Ranked

_SURE_MARGIN = 2.5
_LEAST_TIME_S = 0.05
_FEW_CATALOGS = 16


@dataclass(frozen=True, slots=True)
class Gate:
    """What the second stage does, each with its reason."""

    feedback: bool
    feedback_reason: str
    hydrated: int
    """Most fused candidates that are read from the catalogs."""
    hydrated_reason: str


def gate(plan: Budget, channels: Mapping[str, Ranked], fan_out: int, deadline: Deadline) -> Gate:
    """Decide.

    Args:
        plan: what the budget lets happen at most.
        channels: those that completed.
        fan_out: catalogs that hold a candidate.
        deadline: of retrieval.
    """
    is_open, why = _feedback(plan, channels, deadline)
    if plan.hydrated >= plan.hydrated_most:
        return Gate(is_open, why, plan.hydrated, "all candidates are read")
    if fan_out <= _FEW_CATALOGS:
        return Gate(is_open, why, plan.hydrated_most, f"candidates lie in {fan_out} catalogs: more are read")
    return Gate(is_open, why, plan.hydrated, f"candidates lie in {fan_out} catalogs: few are read")


def _feedback(plan: Budget, channels: Mapping[str, Ranked], deadline: Deadline) -> tuple[bool, str]:
    words = channels.get(LEXICAL)
    if not plan.feedback:
        return False, plan.feedback_reason
    if words is None or not len(words[0]):
        return False, "no word hits to learn from"
    if (lead := margin(words)) >= _SURE_MARGIN:
        return False, f"best word hit is {lead:.1f} times the tenth"
    if deadline.remaining_s < _LEAST_TIME_S:
        return False, f"less than {_LEAST_TIME_S * 1000:.0f} ms left"
    return True, f"best word hit is only {lead:.1f} times the tenth"
