"""Judges a proposal on the later sessions, which it was not made from, and on the golden queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from codeintel_core.retrieval.tuning import Factors
from codeintel_pipelines.evaluation.metrics import Difference, Values, paired
from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.log import Log, ranks
from codeintel_pipelines.learning.propose import propose

TRAIN_SHARE = 0.6
LEAST_SESSIONS = 40
_GOLDEN_MAY_FALL = 0.005  # nDCG@10; less than what other choices of constants change by chance


@dataclass(frozen=True, slots=True)
class Judged:
    """A proposal and what later sessions say about it.

    Attributes:
        factors: proposed; equal to those that count when nothing better was found.
        sessions: `train` and `test` sessions, and their `requests`.
        changes: end of the position bias -> metric -> change per later session with its 95 % interval.
        reasons: why it may not be promoted, empty when it may.
    """

    factors: dict[str, dict[str, float]]
    sessions: dict[str, int]
    changes: dict[str, dict[str, Difference]]
    reasons: list[str]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def judge(log: Log, now: Factors) -> Judged:
    """Propose on the earlier sessions, judge on the later ones."""
    train, test = log.split(TRAIN_SHARE)
    sessions = {
        "train": len(set(train.sessions.tolist())), "train_requests": len(train.kinds),
        "test": len(set(test.sessions.tolist())), "test_requests": len(test.kinds),
    }  # fmt: skip
    if sessions["test"] < LEAST_SESSIONS:
        too_few = f"{sessions['test']} later sessions have judged files; {LEAST_SESSIONS} are needed"
        return Judged({kind: dict(by) for kind, by in now.items()}, sessions, {}, [too_few])
    # Rates of all sessions: they describe where people look, not what the proposal is worth.
    chance = value.looked_at(log)
    factors = propose(train, now, chance)
    ours, theirs = ranks(test, factors), ranks(test, now)
    changes = {
        end: {metric: value.change(test, ours, theirs, rates, metric) for metric in (value.NDCG, value.MRR)}
        for end, rates in chance.items()
    }
    reasons = [
        f"nDCG of later sessions, if {end.replace('_', ' ')}: {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        for end, by_metric in changes.items()
        if (found := by_metric[value.NDCG]).low <= 0
    ]
    if factors == now:
        reasons = ["nothing better was found on the earlier sessions"]
    return Judged(factors, sessions, changes, reasons)


def golden_reasons(by_repository: Mapping[str, tuple[Values, Values]]) -> tuple[list[str], dict[str, float]]:
    """Why golden queries speak against a proposal, and the change of mean nDCG@10 by repository.

    Args:
        by_repository: repository -> nDCG@10 per golden query with the proposal, and with what counts now.
    """
    if not by_repository:
        return ["no repository has golden queries: run the job evaluate_retrieval first"], {}
    changes = {repo: paired(ours, theirs) for repo, (ours, theirs) in by_repository.items()}
    reasons = [
        f"golden queries of '{repo}': nDCG@10 {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        for repo, found in changes.items()
        if found.mean < -_GOLDEN_MAY_FALL or found.high < 0
    ]
    return reasons, {repo: round(found.mean, 6) for repo, found in changes.items()}
