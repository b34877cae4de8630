"""Confidence rises with match, margin, agreement and verification, and weak hits are not called an answer."""

from __future__ import annotations

from hits import hit

from codeintel_serving.answer.confidence import assess, is_weak, relevance

QUESTION = "recover journal"


def test_relevance_is_comparable_between_questions() -> None:
    assert relevance(QUESTION, hit("recover the journal", cosine=0.6)) == 1.0
    assert relevance(QUESTION, hit("unrelated", cosine=0.1)) == 0.0
    assert relevance(QUESTION, hit("recover")) == 0.5


def test_weak_hits() -> None:
    assert is_weak(QUESTION, [])
    assert is_weak(QUESTION, [hit("unrelated", cosine=0.15)])
    assert not is_weak(QUESTION, [hit("recover the journal", cosine=0.3)])


def test_nothing_cited_is_no_confidence() -> None:
    assert assess(QUESTION, [], [], dropped=0, degraded=[]).value == 0


def test_dropped_citations_and_degraded_channels_lower_it() -> None:
    hits = [hit("recover the journal", cosine=0.6), hit("other", rank=2, score=0.2)]
    full = assess(QUESTION, hits, hits[:1], dropped=0, degraded=[])
    assert assess(QUESTION, hits, hits[:1], dropped=1, degraded=[]).value < full.value
    degraded = assess(QUESTION, hits, hits[:1], dropped=0, degraded=["dense"])
    assert degraded.value < full.value
    assert "the dense channel did not complete" in degraded.reasons
