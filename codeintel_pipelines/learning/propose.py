"""Proposes factors of fusion weights: per kind of query, one channel after the other, on the earlier sessions only."""

from __future__ import annotations

from codeintel_core.retrieval.cocitation import NO_PAIRS, Pairs
from codeintel_core.retrieval.tuning import TUNABLE, Factors
from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.log import CHANNELS, Floats, Log, links, ranks

_GRID = (0.25, 0.5, 0.7, 1.0, 1.4, 2.0, 4.0)
_SWEEPS = 2
_LEAST_REQUESTS = 40
_LEAST_SHARE = 0.05  # of the kind's requests in which a channel found something
_LEAST_GAIN = 0.002  # per change of one factor; less is not worth a document


def propose(
    train: Log, now: Factors, chance: dict[str, Floats], pairs: Pairs = NO_PAIRS
) -> dict[str, dict[str, float]]:
    """The factors that the earlier sessions like best, starting from those that count now.

    A kind with fewer than 40 judged requests keeps what it has.

    Args:
        train: requests of the earlier sessions.
        now: factors that count now.
        chance: see `value.looked_at`.
        pairs: of files, that count now.
    """
    found = {kind: dict(channels) for kind, channels in now.items()}
    for kind in sorted(set(train.kinds.tolist())):
        mine = train.where(train.kinds == kind)
        if len(mine.kinds) >= _LEAST_REQUESTS and (best := _best(mine, kind, dict(now.get(kind, {})), chance, pairs)):
            found[kind] = best
    return found


def _best(log: Log, kind: str, start: dict[str, float], chance: dict[str, Floats], pairs: Pairs) -> dict[str, float]:
    linked = links(log, pairs)
    shown = ranks(log, {kind: start}, linked)
    before = {end: value.by_session(log, shown, rates).mean() for end, rates in chance.items()}
    best, gained = start, 0.0
    for _ in range(_SWEEPS):
        for name in TUNABLE:
            if (log.values[:, :, CHANNELS.index(name)].max(axis=1) > 0).mean() < _LEAST_SHARE:
                continue
            for factor in _GRID:
                tried = {one: by for one, by in {**best, name: factor}.items() if by != 1.0}
                ranked = ranks(log, {kind: tried}, linked)
                # The worse of both ends: what helps only when rank explains all, or nothing, is not believed.
                gain = min(value.by_session(log, ranked, chance[end]).mean() - before[end] for end in chance)
                if gain > gained + _LEAST_GAIN:
                    best, gained = tried, float(gain)
    return best
