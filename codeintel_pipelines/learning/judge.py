"""Judges a proposal on the later sessions, which it was not made from, and on the golden queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from codeintel_core.retrieval.cocitation import NO_PAIRS, Pairs
from codeintel_core.retrieval.tuning import Factors
from codeintel_pipelines.evaluation.metrics import Difference, Values, paired
from codeintel_pipelines.learning import pairs as together
from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.log import Floats, Log, links, ranks
from codeintel_pipelines.learning.propose import propose

TRAIN_SHARE = 0.6
LEAST_SESSIONS = 40
_GOLDEN_MAY_FALL = 0.005  # nDCG@10; less than what other choices of constants change by chance


Changes = dict[str, dict[str, Difference]]
"""End of the position bias -> metric -> change per later session with its 95 % interval."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What is proposed, weights and pairs of files, and what later sessions say about each.

    Attributes:
        factors: proposed; those that count now when nothing better was found, or when only pairs may be promoted.
        sessions: `train` and `test` sessions, and their `requests`.
        changes: by the factors, with the pairs that count now.
        reasons: why nothing may be promoted, empty when something may.
        pairs: those that may be promoted, else those that count now.
        pair_changes: by the proposed pairs, beyond what the weights alone give; empty when none were proposed.
        pair_reasons: why the proposed pairs may not be promoted, empty when they may.
        weight_reasons: the same of the factors.
    """

    factors: dict[str, dict[str, float]]
    sessions: dict[str, int]
    changes: Changes
    reasons: list[str]
    pairs: Pairs = NO_PAIRS
    pair_changes: Changes = field(default_factory=dict)
    pair_reasons: list[str] = field(default_factory=list)
    weight_reasons: list[str] = field(default_factory=list)


def judge(log: Log, now: Factors, pairs: Pairs = NO_PAIRS) -> Judged:
    """Propose on the earlier sessions, judge on the later ones; `now` and `pairs` are what counts now."""
    train, test = log.split(TRAIN_SHARE)
    sessions = {
        "train": len(set(train.sessions.tolist())), "train_requests": len(train.kinds),
        "test": len(set(test.sessions.tolist())), "test_requests": len(test.kinds),
    }  # fmt: skip
    current = {kind: dict(by) for kind, by in now.items()}
    if sessions["test"] < LEAST_SESSIONS:
        too_few = [f"{sessions['test']} later sessions have judged files; {LEAST_SESSIONS} are needed"]
        return Judged(current, sessions, {}, too_few, pairs, {}, too_few, too_few)
    # Rates of all sessions: they describe where people look, not what the proposal is worth.
    chance = value.looked_at(log)
    factors = propose(train, now, chance, pairs)
    changes = _changes(test, chance, (factors, pairs), (now, pairs))
    weight_reasons = _reasons(changes) if factors != now else ["nothing better was found on the earlier sessions"]
    kept = now if weight_reasons else factors
    proposed, pair_changes = together.propose(train, kept, chance), Changes()
    if proposed == pairs:
        pair_reasons = ["no better pairs of files were found on the earlier sessions"]
    else:  # beside the weights as they will be: what those give already is not the pairs' merit
        pair_changes = _changes(test, chance, (kept, proposed), (kept, pairs))
        pair_reasons = [f"pairs of files: {reason}" for reason in _reasons(pair_changes)]
    reasons = [*weight_reasons, *pair_reasons] if weight_reasons and pair_reasons else []
    return Judged(
        factors if reasons or not weight_reasons else current, sessions, changes, reasons,
        pairs if pair_reasons else proposed, pair_changes, pair_reasons, weight_reasons,
    )  # fmt: skip


def _changes(
    test: Log, chance: Mapping[str, Floats], ours: tuple[Factors, Pairs], theirs: tuple[Factors, Pairs]
) -> Changes:
    """What later sessions get more of by one way of ranking than by another."""
    ranked, before = (ranks(test, factors, links(test, pairs)) for factors, pairs in (ours, theirs))
    return {
        end: {metric: value.change(test, ranked, before, rates, metric) for metric in (value.NDCG, value.MRR)}
        for end, rates in chance.items()
    }


def _reasons(changes: Changes) -> list[str]:
    return [
        f"nDCG of later sessions, if {end.replace('_', ' ')}: {found.mean:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        for end, by_metric in changes.items()
        if (found := by_metric[value.NDCG]).low <= 0
    ]


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
