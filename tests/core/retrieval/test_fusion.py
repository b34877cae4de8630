"""Fusion: scores are scaled within their channel, a channel that says nothing changes nothing, weights count."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.retrieval.fusion import FUSIONS, RRF_K, Ranked, by_ranks, by_scores

_WEIGHTS = {"dense": 0.4, "lexical": 0.6}


def _ranked(hits: dict[int, float]) -> Ranked:
    order = sorted(hits, key=lambda i: -hits[i])
    return np.array(order, np.int64), np.array([hits[i] for i in order], np.float32)


_HITS = st.dictionaries(st.integers(0, 20), st.floats(-100, 100, width=32), max_size=10)


def test_scores_are_scaled_and_weighted() -> None:
    fused = by_scores({"dense": _ranked({1: 0.9, 2: 0.7, 3: 0.5}), "lexical": _ranked({2: 40.0, 4: 20.0})}, _WEIGHTS)
    assert fused == pytest.approx({1: 0.4, 2: 0.2 + 0.6, 3: 0.0, 4: 0.0}, abs=1e-6)


def test_a_single_hit_counts_in_full() -> None:
    assert by_scores({"lexical": _ranked({7: 0.001})}, _WEIGHTS) == {7: 0.6}


def test_ranks() -> None:
    fused = by_ranks({"dense": _ranked({1: 9, 2: 8}), "lexical": _ranked({2: 1})}, {"dense": 1, "lexical": 1})
    assert fused == pytest.approx({1: 1 / (RRF_K + 1), 2: 1 / (RRF_K + 2) + 1 / (RRF_K + 1)})


@given(_HITS, _HITS)
def test_every_hit_is_kept_and_bounded(dense: dict[int, float], lexical: dict[int, float]) -> None:
    channels = {"dense": _ranked(dense), "lexical": _ranked(lexical)}
    fused = by_scores(channels, _WEIGHTS)
    assert set(fused) == set(by_ranks(channels, _WEIGHTS)) == dense.keys() | lexical.keys()
    assert all(0 <= score <= 1 + 1e-6 for score in fused.values())


@given(_HITS, st.floats(1, 1000), st.floats(-100, 100))
def test_the_scale_of_a_channel_does_not_matter(hits: dict[int, float], factor: float, shift: float) -> None:
    ids, scores = _ranked(hits)
    scores = scores.astype(np.float64)
    plain, moved = by_scores({"dense": (ids, scores)}, _WEIGHTS), by_scores(
        {"dense": (ids, scores * factor + shift)}, _WEIGHTS
    )  # fmt: skip
    if len(set(hits.values())) < 2 or scores.max() - scores.min() > 1e-3:
        assert moved == pytest.approx(plain, abs=1e-6)


def test_nothing() -> None:
    assert by_scores({}, _WEIGHTS) == by_scores({"dense": _ranked({})}, _WEIGHTS) == {}


def test_the_tail_of_the_lexical_list_counts_less() -> None:
    lists = {"lexical": _ranked({1: 10.0, 2: 5.0, 3: 0.0})}
    assert by_scores(lists, {"lexical": 1})[2] < 0.5 == pytest.approx(FUSIONS["plain_scores"](lists, {"lexical": 1})[2])


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_stays_between_0_and_1(name: str) -> None:
    channels = {"dense": _ranked({1: 0.9, 2: 0.1}), "lexical": _ranked({1: 30, 3: 2, 4: 1})}
    fused = FUSIONS[name](channels, _WEIGHTS)
    assert max(fused, key=fused.__getitem__) == 1
    assert 0 <= min(fused.values()) <= max(fused.values()) <= 1 + 1e-6
