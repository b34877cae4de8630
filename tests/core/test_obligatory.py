"""What is part of every match: never more than RE2 says."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codeintel_core.errors import InvalidPattern
from codeintel_core.obligatory import obligatory
from codeintel_core.patterns import compiled


@pytest.mark.parametrize(
    ("pattern", "part"),
    [
        ("plain text", "plain text"),
        (r"needle_\d+\(", "needle_"),
        (r"os\.replace\(", "os.replace("),
        (r"def \w+_cache\(self", "_cache(self"),
        ("^import numpy$", "import numpy"),
        ("colou?r", "colo"),
        ("ab+c", "ab"),
        ("a{2}bcd", "bcd"),
        ("a{b}c", "a{b}c"),
        ("(get|set)_value", "_value"),
        ("(?:get)?_value[]x]s", "_value"),
        ("[^]a]bc*?d", "b"),
        ("one|three", ""),
        ("(?i)three", ""),
        ("(?:(?i)a)three", ""),
        (r"\x41bc", ""),
        (r"\Qa.b\Ec", ""),
        (r"[[:alpha:]]bcd", ""),
        (".*", ""),
        ("né+e", "né"),
    ],
)
def test_the_longest_text_of_every_match(pattern: str, part: str) -> None:
    compiled(pattern)
    assert obligatory(pattern) == part


_PIECES = st.lists(
    st.sampled_from(
        [*"abc.*+?()|[]{}^$-,:", r"\d", r"\.", r"\\", r"\x61", r"\b", "(?:", "(?i)", "[^", "{2}", "{0,1}", "1"]
    ),
    max_size=12,
)


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")  # of Python's engine
@settings(max_examples=500)
@given(_PIECES, st.data())
def test_a_text_without_it_has_no_match(pieces: list[str], data: st.DataObject) -> None:
    pattern = "".join(pieces)
    text = data.draw(_matching(pattern))
    try:
        found = compiled(pattern).search(text)
    except InvalidPattern:
        assume(False)
    assert found is None or obligatory(pattern) in text


def _matching(pattern: str) -> st.SearchStrategy[str]:
    """Texts that match in Python, which mostly agrees with RE2; any where it knows no such pattern."""
    try:
        return st.from_regex(re.compile(pattern))
    except re.error:
        return st.text(alphabet="abcABC.1\\{}-,:", max_size=24)
