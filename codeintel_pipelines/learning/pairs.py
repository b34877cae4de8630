"""Proposes pairs of files that people open together, on the earlier sessions only.

Only what was judged good makes a pair: files that answers cite, and nobody looked at, would confirm themselves.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import numpy as np

from codeintel_core.retrieval.cocitation import NO_PAIRS, Neighbours, Pairs
from codeintel_core.retrieval.tuning import Factors
from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.log import Floats, Log, links, ranks

_LEAST_SESSIONS = 3
_LEAST_COSINE = 0.1
_LEAST_LIFT = 2.0  # against chance
_MOST_NEIGHBOURS = 8
_MOST_PAIRS = 5_000  # with paths of at most 256 bytes a document stays below what is read of one
_MOST_PATH_BYTES = 256
_MOST_FILES = 30  # a session that opened more says nothing about any two of them
_WEIGHTS = (0.05, 0.1, 0.2, 0.4)
_LEAST_GAIN = 0.001
_KNOWN_SHARE = 0.6


def propose(train: Log, factors: Factors, chance: dict[str, Floats]) -> Pairs:
    """The pairs of these sessions, with the weight that the later ones among them like most surely.

    No pairs when those like no weight. It is chosen with the pairs of the earlier ones among them: pairs of the same
    sessions would praise any weight.

    Args:
        train: requests of the earlier sessions.
        factors: of the weights, with which the pairs would count.
        chance: see `value.looked_at`.
    """
    known, asked = train.split(_KNOWN_SHARE)
    some = neighbours(known)
    best, sure = 0.0, -math.inf
    before = ranks(asked, factors)
    for weight in _WEIGHTS if some else ():
        ranked = ranks(asked, factors, links(asked, Pairs(weight=weight, neighbours=some)))
        changes = [value.change(asked, ranked, before, rates) for rates in chance.values()]
        # The worse of both ends, and what is sure of it: a large weight gains more and costs some people more.
        low = min(change.low for change in changes)
        if low > sure and min(change.mean for change in changes) > _LEAST_GAIN:
            best, sure = weight, low
    return Pairs(weight=best, neighbours=neighbours(train)) if best else NO_PAIRS


def neighbours(log: Log) -> Neighbours:
    """Files opened in the same sessions, with the cosine of how many: the 8 most similar of each file.

    In at least 3 sessions, and twice as many as if the one said nothing about the other.
    """
    opened: dict[int, set[str]] = {}
    for row, place in zip(*np.nonzero(log.clicks > 0), strict=True):
        name = str(log.names[row, place])
        if len(name.encode()) <= _MOST_PATH_BYTES:
            opened.setdefault(int(log.sessions[row]), set()).add(name)
    alone, both = Counter[str](), Counter[tuple[str, str]]()
    for files in opened.values():
        alone.update(files)
        if len(files) <= _MOST_FILES:
            both.update(combinations(sorted(files), 2))
    found: dict[str, dict[str, float]] = {}
    for (one, other), sessions in both.items():
        cosine = round(sessions / math.sqrt(alone[one] * alone[other]), 4)
        lift = sessions * len(opened) / (alone[one] * alone[other])
        is_same_repository = one.partition(":")[0] == other.partition(":")[0]
        if sessions >= _LEAST_SESSIONS and min(cosine / _LEAST_COSINE, lift / _LEAST_LIFT) >= 1 and is_same_repository:
            found.setdefault(one, {})[other] = cosine
            found.setdefault(other, {})[one] = cosine
    kept = sorted(
        (-cosine, one, other)
        for one, near in found.items()
        for other, cosine in sorted(near.items(), key=lambda by: (-by[1], by[0]))[:_MOST_NEIGHBOURS]
    )[:_MOST_PAIRS]
    by_repository: Neighbours = {}
    for cosine, one, other in kept:
        repo, _, path = one.partition(":")
        by_repository.setdefault(repo, {}).setdefault(path, {})[other.partition(":")[2]] = -cosine
    return by_repository
