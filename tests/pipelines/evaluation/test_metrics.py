"""Metrics against values worked out by hand, and intervals that behave as intervals do."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_pipelines.evaluation.metrics import interval, ndcg, paired, per_query, recall, reciprocal_rank

_QRELS = {"a": 2.0, "b": 1.0}


def test_recall() -> None:
    assert recall(["x", "a"], _QRELS) == 0.5
    assert recall(["x"] * 10 + ["a", "b"], _QRELS) == 0
    assert recall([], {}) == 0


def test_reciprocal_rank() -> None:
    assert reciprocal_rank(["x", "y", "b", "a"], _QRELS) == 1 / 3
    assert reciprocal_rank(["x"] * 10 + ["a"], _QRELS) == 0


def test_ndcg_by_hand() -> None:
    ideal = 2 + 1 / math.log2(3)
    assert ndcg(["a", "b"], _QRELS) == 1
    assert ndcg(["b", "a"], _QRELS) == pytest.approx((1 + 2 / math.log2(3)) / ideal)
    assert ndcg(["x", "a"], _QRELS) == pytest.approx(2 / math.log2(3) / ideal)
    assert ndcg(["x"], _QRELS) == 0


@given(st.permutations(["a", "b", "c", "d"]))
def test_no_order_beats_the_ideal(order: list[str]) -> None:
    assert 0 < ndcg(order, {"a": 3, "b": 2, "c": 1}) <= 1 + 1e-12


def test_a_query_without_an_answer_counts_0() -> None:
    values = per_query({"q1": ["a"]}, {"q1": {"a": 1.0}, "q2": {"b": 1.0}})
    assert {name: found.tolist() for name, found in values.items()} == {
        "recall@10": [1, 0], "mrr@10": [1, 0], "ndcg@10": [1, 0],
    }  # fmt: skip


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_an_interval_holds_its_mean(values: list[float]) -> None:
    found = interval(np.array(values))
    assert found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert found == interval(np.array(values))


def test_a_constant_gain_is_certain_and_no_gain_is_not() -> None:
    random = np.random.default_rng(1)
    theirs = random.random(200)
    sure = paired(theirs + 0.05, theirs)
    assert (sure.p, round(sure.low, 6), round(sure.high, 6)) == (0, 0.05, 0.05)
    noise = paired(theirs + random.normal(0, 0.1, 200), theirs)
    assert noise.low < 0 < noise.high
    assert paired(theirs, theirs).p == 1
