"""Confidence is a probability that never falls when more speaks for an answer, and says what it is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hits import hit

from codeintel_core.retrieval.engine import ChannelRank, Hit
from codeintel_serving.answer import calibration
from codeintel_serving.answer.confidence import assess, is_weak, relevance
from codeintel_serving.answer.signals import SIGNALS, signals

QUESTION = "recover journal"
BOTH = {"dense": ChannelRank(1, 0.6), "lexical": ChannelRank(1, 9.0)}


def best(text: str = "recover the journal") -> Hit:
    return replace(hit(text), channels=BOTH, explain={"defines": 0.25})


def test_relevance_is_comparable_between_questions() -> None:
    assert relevance(QUESTION, hit("recover the journal", cosine=0.6)) == 1.0
    assert relevance(QUESTION, hit("unrelated", cosine=0.1)) == 0.0
    assert relevance(QUESTION, hit("recover")) == 0.5


def test_weak_hits() -> None:
    assert is_weak(QUESTION, [])
    assert is_weak(QUESTION, [hit("unrelated", cosine=0.15)])
    assert not is_weak(QUESTION, [hit("recover the journal", cosine=0.3)])


def test_signals_of_the_first_citation() -> None:
    first = best("recover")
    other = hit("other", rank=2, score=0.8)
    found = signals(QUESTION, [first, other], first)
    assert found == pytest.approx({"words": 0.5, "lead": 0.2**0.5, "agreement": 1.0, "defines": 1.0})
    assert signals(QUESTION, [first, other], other) == pytest.approx(
        {"words": 0.0, "lead": 0.0, "agreement": 0.0, "defines": 0.0}
    )


@pytest.mark.parametrize("way", [calibration.HYBRID, calibration.LEXICAL, calibration.DENSE])
def test_more_of_a_signal_never_lowers_the_probability(way: str) -> None:
    model = calibration.TABLE[way]
    assert model.weights.keys() == model.means.keys() <= SIGNALS.keys()
    nothing = dict.fromkeys(SIGNALS, 0.0)
    at_zero = model.probability(nothing)
    for name in SIGNALS:
        assert model.probability({**nothing, name: 0.5}) >= at_zero
    assert at_zero < 0.5 < model.probability(dict.fromkeys(SIGNALS, 0.7))
    assert model.probability({**nothing, **model.means}) == pytest.approx(1 / (1 + 2.718281828**-model.base))


def test_nothing_cited_is_no_confidence() -> None:
    assert assess(QUESTION, [], [], dropped=0, degraded=[]).value == 0


def test_reasons_say_what_each_signal_adds() -> None:
    hits = [best(), hit("other", rank=2, score=0.1)]
    found = assess(QUESTION, hits, hits[:1], dropped=0, degraded=[])
    assert found.reasons[0] == f"the best citation is relevant with probability {found.value:.0%}"
    assert any(reason.startswith("it holds 100% of the question's words (+") for reason in found.reasons)
    poor = hit("nothing of it", rank=9, score=0.1)
    assert any(
        reason.startswith("it holds 0% of the question's words (-")
        for reason in assess(QUESTION, [*hits, poor], [poor], dropped=0, degraded=[]).reasons
    )


def test_dropped_citations_degraded_channels_and_uncited_statements_lower_it() -> None:
    hits = [best(), hit("other", rank=2, score=0.2)]
    full = assess(QUESTION, hits, hits[:1], dropped=0, degraded=[])
    assert assess(QUESTION, hits, hits[:1], dropped=1, degraded=[]).value == pytest.approx(full.value / 2, abs=1e-3)
    half = assess(QUESTION, hits, hits[:1], dropped=0, degraded=[], cited_share=0.5)
    assert half.value == pytest.approx(0.75 * full.value, abs=1e-3)
    degraded = assess(QUESTION, hits, hits[:1], dropped=0, degraded=["dense"])
    assert "the dense channel did not complete" in degraded.reasons
    without_dense = calibration.TABLE[calibration.LEXICAL].probability(signals(QUESTION, hits, hits[0]))
    assert degraded.value == pytest.approx(without_dense, abs=1e-3)
