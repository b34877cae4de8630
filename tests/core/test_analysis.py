"""Tokens: identifiers are found whole and by their parts, and no input makes a term that Lucene would split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.analysis import document_terms, query_terms, terms, unique


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parseHTTPHeader", ["parsehttpheader", "parse", "http", "header"]),
        ("read_all_lines", ["read_all_lines", "read", "all", "lines"]),
        ("_private", ["_private", "private"]),
        ("sha256sum", ["sha256sum", "sha", "256", "sum"]),
        ("a.b(c)", ["a", "b", "c"]),
        ("größeÄndern", ["größeändern", "gr", "öß", "e", "ä", "ndern"]),
        ("Ledger", ["ledger"]),
        ("__ - !", []),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


@given(st.text())
def test_a_term_is_one_short_word_that_finds_itself(text: str) -> None:
    for term in terms(text):
        assert term
        assert len(term) <= 64
        assert term == "".join(term.split())


def test_stop_words_go_unless_nothing_else_is_left() -> None:
    assert query_terms("where is the ledger") == ["ledger"]
    assert query_terms("what is this") == ["what", "is", "this"]
    assert query_terms("") == []


def test_a_symbol_weighs_more_than_a_mention() -> None:
    found = document_terms(symbol="Ledger", path="src/a.py", text="Ledger")
    assert found.count("ledger") == 4
    assert {"src", "a", "py"} <= set(found)


def test_unique_keeps_the_first_of_each() -> None:
    assert unique(["b", "a", "b"]) == ["b", "a"]
