"""Patterns of users run on RE2 only: what it refuses is named with its position, at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.errors import InvalidPattern
from codeintel_core.patterns import MAX_PATTERN_CHARS, literal, regex


@pytest.mark.parametrize(
    ("pattern", "position", "reason"),
    [
        ("abc(def", 3, "missing )"),
        ("a)b", 1, "unexpected )"),
        (r"\(x[)](y", 6, "missing )"),
        ("x[z-a]", 2, "invalid character class range"),
        ("foo(?=bar)", 3, "invalid perl operator"),
        ("foo(?<=bar)", 3, "invalid perl operator"),
        (r"(a)\1", 3, "invalid escape sequence"),
        (r"\\\q", 2, "invalid escape sequence"),
        ("a{1000}{1000}", 1, "bad repetition operator"),
        ("(((a{100}){100}){100})", 4, "invalid repetition size"),
        ("*a", 0, "no argument for repetition operator"),
        ("ab**", 2, "bad repetition operator"),
        ("é(", 1, "missing )"),
        ("a\ud800", 1, "not valid Unicode"),
    ],
)
def test_a_bad_pattern_is_refused_with_its_position(pattern: str, position: int, reason: str) -> None:
    with pytest.raises(InvalidPattern) as caught:
        regex(pattern)
    assert f"at position {position}" in str(caught.value)
    assert reason in str(caught.value)
    assert caught.value.status == 400


@pytest.mark.parametrize("pattern", ["", "x" * (MAX_PATTERN_CHARS + 1), "x" * 10_000])
def test_the_length_has_limits(pattern: str) -> None:
    for make in (regex, literal):
        with pytest.raises(InvalidPattern, match=r"1\.\.1000 characters"):
            make(pattern)


@pytest.mark.parametrize("pattern", ["a*", "^", "x?|y", "$"])
def test_what_matches_nothing_at_all_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidPattern, match="matches the empty text"):
        regex(pattern)


def test_catastrophic_patterns_are_linear() -> None:
    assert regex("(a+)+$").spans("a" * 50_000 + "!", 5) == []
    assert regex("(x+x+)+y").spans("x" * 50_000, 5) == []


def test_anchors_are_the_ends_of_lines_and_offsets_are_characters() -> None:
    text = "é = 1\ndef f():\n    def g():\n"
    assert [text[slice(*span)] for span in regex(r"^\s*def \w").spans(text, 9)] == ["def f", "    def g"]
    assert regex("=").spans(text, 9) == [(2, 3)]
    assert regex(r"\):$\n").spans(text, 1) == [(12, 15)]


@given(st.text("ab(.*[é\n", max_size=30), st.text("ab(.*[é\n", min_size=1, max_size=3))
def test_a_literal_stands_for_itself(text: str, wanted: str) -> None:
    spans = literal(wanted).spans(text, 100)
    assert len(spans) == text.count(wanted)
    assert all(text[start:end] == wanted for start, end in spans)
