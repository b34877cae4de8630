"""Promoted is what people want and the defaults do not give them; never what only follows from where things stood."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codeintel_core.retrieval.tuning import tuned_weights
from codeintel_pipelines.learning import value
from codeintel_pipelines.learning.judge import LEAST_SESSIONS, golden_reasons, judge
from codeintel_pipelines.learning.log import CHANNELS, Log, ranks, weights
from codeintel_pipelines.learning.simulator import People, World, simulate

LEANING = People(World.LEANING, sessions=400, bias=0.7)
_SOME = {"identifier": {"lexical": 0.25, "symbols": 4.0}}


@pytest.fixture(scope="module")
def leaning() -> Log:
    return Log.of(simulate(LEANING, seed=1))


def test_what_people_want_is_found_and_serves_people_who_were_never_seen(leaning: Log) -> None:
    judged = judge(leaning, {})
    assert judged.reasons == []
    assert judged.factors["identifier"]["lexical"] < 1, "they care less for words than the defaults do"
    assert all(found.low > 0 for by_metric in judged.changes.values() for found in by_metric.values()), judged.changes
    # Others, who look at everything and open only what they want: their clicks say what is wanted.
    others = Log.of(simulate(replace(LEANING, bias=0.0, noise=0.0), seed=2))
    chance = value.looked_at(others)[value.NOTHING]
    for metric in (value.NDCG, value.MRR):
        assert value.change(others, ranks(others, judged.factors), ranks(others, {}), chance, metric).low > 0.02


def test_once_promoted_nothing_more_is_found(leaning: Log) -> None:
    first = judge(leaning, {})
    again = judge(leaning, first.factors)
    assert again.reasons
    assert set(again.factors) == {"identifier"}


@pytest.mark.parametrize(
    ("world", "bias", "seeds"), [(World.BLIND, 1.0, 20), (World.BLIND, 0.5, 8), (World.CONTENT, 1.0, 8)]
)
def test_nothing_is_promoted_without_signal(world: World, bias: float, seeds: int) -> None:
    judged = [judge(Log.of(simulate(People(world, sessions=150, bias=bias), seed)), {}) for seed in range(seeds)]
    assert all(one.sessions["test"] >= LEAST_SESSIONS for one in judged)
    assert sum(not one.reasons for one in judged) <= 1


def test_clicks_that_follow_only_the_rank_are_worth_the_same_in_any_order() -> None:
    log = Log.of(simulate(People(World.BLIND, sessions=1_500, bias=1.0), seed=5))
    chance = value.looked_at(log)
    shuffled = np.random.default_rng(0).permuted(ranks(log, {}), axis=1)
    found = {end: value.change(log, shuffled, ranks(log, {}), rates) for end, rates in chance.items()}
    assert found[value.ALL].low < 0 < found[value.ALL].high + 0.02
    assert found[value.NOTHING].high < -0.1, "taken at face value, such clicks praise whatever was on top"


def test_no_session_is_in_both_parts_and_the_earlier_train(leaning: Log) -> None:
    train, test = leaning.split(0.6)
    assert not set(train.sessions.tolist()) & set(test.sessions.tolist())
    assert train.sessions.max() < test.sessions.min()
    assert len(train.kinds) + len(test.kinds) == len(leaning.kinds)


def test_few_sessions_promote_nothing() -> None:
    judged = judge(Log.of(simulate(replace(LEANING, sessions=60), seed=1)), {})
    assert f"{LEAST_SESSIONS} are needed" in judged.reasons[0]
    assert judge(Log.of([]), _SOME).factors == _SOME


def test_offline_weights_are_those_of_the_engine(leaning: Log) -> None:
    ours = weights(leaning, _SOME)[0]
    theirs = tuned_weights(dict(zip(CHANNELS, leaning.defaults[0].tolist(), strict=True)), _SOME["identifier"])
    assert dict(zip(CHANNELS, ours.tolist(), strict=True)) == pytest.approx(theirs)
    assert (weights(leaning, {"path": {"lexical": 4.0}}) == leaning.defaults).all()


def test_the_defaults_give_the_order_that_was_shown(leaning: Log) -> None:
    places = np.arange(1, leaning.clicks.shape[1] + 1)
    assert (ranks(leaning, {}) == places).all()
    assert not (ranks(leaning, _SOME) == places).all()


def test_golden_queries_guard() -> None:
    before = np.linspace(0.2, 0.9, 50)
    assert golden_reasons({"a": (before, before)}) == ([], {"a": 0.0})
    assert golden_reasons({"a": (before + 0.01, before), "b": (before - 0.001, before)})[0] != []
    assert "evaluate_retrieval" in golden_reasons({})[0][0]
