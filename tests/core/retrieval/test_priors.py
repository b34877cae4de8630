"""Priors: sources before tests, definitions and file names that were asked for first, no file takes every place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from codeintel_core.catalog import ChunkRow
from codeintel_core.retrieval import priors

_CHUNK = ChunkRow(0, "r", "x.py", "", "python", "source", "utf-8", "function", "", "", "", "", 1, 1, 0, 0, "")


def _rank(query: str, *chunks: ChunkRow, scores: tuple[float, ...] = ()) -> list[int]:
    by_id = {i: replace(chunk, chunk_id=i) for i, chunk in enumerate(chunks)}
    fused = dict(enumerate(scores or (0.5,) * len(chunks)))
    return list(priors.ordered(priors.apply(query, fused, by_id)))


@pytest.mark.parametrize("lower", ["docs", "config", "example", "test", "generated", "vendored", "minified"])
def test_sources_come_first(lower: str) -> None:
    assert _rank("q", replace(_CHUNK, path="a", file_class=lower), replace(_CHUNK, path="b")) == [1, 0]


@pytest.mark.parametrize("query", ["where is `append`?", "Ledger.append", "APPEND", "(append)"])
def test_the_definition_of_an_asked_name_comes_first(query: str) -> None:
    defines = replace(_CHUNK, path="a", name="append", symbol="Ledger.append")
    assert _rank(query, replace(_CHUNK, path="b", name="other"), defines) == [1, 0]


def test_a_file_named_like_the_question_comes_first() -> None:
    assert _rank("ledger rotation", replace(_CHUNK, path="src/a.py"), replace(_CHUNK, path="src/ledger.py")) == [1, 0]


def test_a_file_with_several_good_chunks_comes_first() -> None:
    ranks = _rank("q", replace(_CHUNK, path="lone"), replace(_CHUNK, path="rich"), replace(_CHUNK, path="rich"))
    assert ranks[0] == 1


def test_further_chunks_of_a_file_decay() -> None:
    many = [replace(_CHUNK, path="one")] * 8
    assert _rank("q", *many, replace(_CHUNK, path="two"), scores=(*[0.6] * 8, 0.5)).index(8) < 4


def test_what_was_not_hydrated_is_left_out_and_nothing_stays_nothing() -> None:
    assert priors.apply("q", {1: 1.0}, {}) == {}


def test_ties_are_broken_by_id() -> None:
    assert list(priors.ordered({3: 0.5, 1: 0.5, 2: 0.9})) == [2, 1, 3]
