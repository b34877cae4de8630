"""Tokens: identifiers are found whole and by their parts, and no input makes a term that Lucene would split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.analysis import (
    distinct_terms,
    document_terms,
    held_terms,
    query_terms,
    stem,
    terms,
    unique,
    weighted_terms,
    word_parts,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("parseHTTPHeader", ["parsehttpheader", "pars", "http", "header"]),
        ("read_all_lines", ["read_all_lines", "read", "all", "line"]),
        ("_private", ["_private", "privat"]),
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
    assert distinct_terms("Ledger", "src/a.py", "Ledger") == set(found)
    assert found.count("ledger") == 4
    assert {"src", "a", "py"} <= set(found)


_WORDS = st.sampled_from(
    "parse parsed Queries queryPlan read_all_lines ReadAll stopped tries y _ e HTTP2 x é İx ledger".split()
)


@given(st.frozensets(_WORDS.flatmap(lambda word: st.sampled_from(terms(word) or ["nothing"])) | st.text(max_size=3)),
       st.lists(_WORDS | st.text(max_size=4), max_size=30))  # fmt: skip
def test_held_terms_are_those_among_all(wanted: frozenset[str], words: list[str]) -> None:
    text, path = " ".join(words), "/".join(words[:2])
    assert held_terms(wanted, text, path) == wanted & distinct_terms(text, path)


@pytest.mark.parametrize(
    "forms",
    [
        "parse parses parsed parsing",
        "query queries",
        "box boxes",
        "run running",
        "class classes",
        "fill filled filling",
    ],
)
def test_inflections_of_a_word_meet(forms: str) -> None:
    assert len({stem(form) for form in forms.split()}) == 1


@pytest.mark.parametrize("word", ["bus", "status", "this", "process", "io", "größen", "x86"])
def test_what_only_looks_inflected_stays(word: str) -> None:
    assert stem(word) == word


def test_different_words_stay_apart() -> None:
    assert len({stem(word) for word in "parse parser class clasp red read string strong".split()}) == 8


@given(st.text())
def test_document_and_query_are_cut_alike(text: str) -> None:
    assert set(query_terms(text)) <= set(terms(text))


def test_a_whole_identifier_keeps_its_letters() -> None:
    assert terms("parsedHeaders")[0] == "parsedheaders"


def test_the_name_of_a_language_counts_little() -> None:
    weights = dict(weighted_terms("sort a list in Python"))
    assert weights["python"] < weights["sort"] == weights["list"] == 1


def test_a_docstring_counts_once_more() -> None:
    found = document_terms(symbol="f", path="a.py", text="def f(): 'ledger'", docstring="ledger")
    assert found.count("ledger") == 2


def test_parts_of_a_path() -> None:
    assert word_parts("HTTPHeaders_v2") == {"http", "header", "v", "2"}


def test_unique_keeps_the_first_of_each() -> None:
    assert unique(["b", "a", "b"]) == ["b", "a"]
