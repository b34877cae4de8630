"""grep: RE2 only, line by line, and bad patterns are refused with the place where they go wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.errors import InvalidPattern
from codeintel_core.patterns import MAX_PATTERN_CHARS
from codeintel_core.repository.grep import LinePattern, MatchingLine

TEXT = b"abc\nfoo bar\n\nxfoo\r\nlast foo"


def numbers(pattern: str, data: bytes = TEXT, *, is_regex: bool = True, case: bool = True) -> list[int]:
    found = LinePattern(pattern, is_regex=is_regex, case_sensitive=case)
    lines = [match.line for match in found.lines(data)]
    assert len(lines) == found.count(data)
    return lines


@pytest.mark.parametrize(
    ("pattern", "lines"),
    [
        ("foo", [2, 4, 5]),
        ("^", [1, 2, 3, 4, 5]),
        ("$", [1, 2, 3, 4, 5]),
        ("^$", [3]),
        ("a*", [1, 2, 3, 4, 5]),
        ("foo$", [4, 5]),
        ("c|t", [1, 5]),
        (r"c\s", []),
        (r"(?s)c.*foo", []),
        (r"[^q]foo", [4, 5]),
        ("FOO", []),
    ],
)
def test_patterns_match_within_lines(pattern: str, lines: list[int]) -> None:
    assert numbers(pattern) == lines


def test_case_and_plain_text() -> None:
    assert numbers("FOO", case=False) == [2, 4, 5]
    assert numbers("f.o", is_regex=False) == []
    assert numbers("(?i)Straße", b"STRASSE\nstra\xc3\x9fe\n") == [2]
    assert numbers("é", "é\n".encode(), is_regex=False) == [1]


def test_context_is_whole_lines_and_ends_with_the_text() -> None:
    first, second, third = LinePattern("foo", is_regex=False, case_sensitive=True).lines(TEXT, context=1)
    assert first == MatchingLine(2, "foo bar", ("abc",), ("",))
    assert second == MatchingLine(4, "xfoo", ("",), ("last foo",))
    assert third == MatchingLine(5, "last foo", ("xfoo",), ())


def test_most_stops_early() -> None:
    assert [m.line for m in LinePattern("foo", is_regex=False, case_sensitive=True).lines(TEXT, most=2)] == [2, 4]


@pytest.mark.parametrize(
    ("pattern", "where"),
    [
        ("a**", "position 1"),
        ("x(?=y)", "position 1"),
        (r"(a)\1", "position 3"),
        ("ab[c", "position 2"),
        ("a)(b", "position 1"),
        ("x{1001}", "position 1"),
        ("a\\", "position"),
        ("x" * (MAX_PATTERN_CHARS + 1), str(MAX_PATTERN_CHARS)),
        ("", str(MAX_PATTERN_CHARS)),
        ("a\nb", "line ends"),
        ("a\0b", "NUL"),
        ("\ud800", "Unicode"),
    ],
)
def test_what_re2_refuses_names_the_place_or_the_limit(pattern: str, where: str) -> None:
    with pytest.raises(InvalidPattern, match=where):
        LinePattern(pattern, is_regex=True, case_sensitive=True)


def test_plain_text_has_the_same_limits() -> None:
    for text in ("", "x" * (MAX_PATTERN_CHARS + 1), "\ud800", "a\nb"):
        with pytest.raises(InvalidPattern):
            LinePattern(text, is_regex=False, case_sensitive=True)


def test_a_catastrophic_pattern_is_only_a_pattern() -> None:
    assert numbers("(a+)+$", b"a" * 50_000 + b"b\n") == []


@given(st.text("ab\n\r ", max_size=60), st.text("ab ", min_size=1, max_size=3))
def test_plain_text_finds_exactly_the_lines_that_hold_it(text: str, wanted: str) -> None:
    lines = text.replace("\r\n", "\n").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    expected = [i for i, line in enumerate(lines, 1) if re.search(re.escape(wanted), line)]
    assert numbers(wanted, text.encode(), is_regex=False) == expected
