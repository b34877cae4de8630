"""Priors: sources before tests, definitions and file names that were asked for first, no file takes every place."""

from __future__ import annotations

import pytest

from codeintel_core.catalog import ChunkRow
from codeintel_core.retrieval import priors

_CHUNK = ChunkRow(0, "r", "x.py", "", "python", "source", "utf-8", "function", "", "", "", "", 1, 1, 0, 0, "")


def _rank(query: str, *chunks: ChunkRow, scores: tuple[float, ...] = ()) -> list[int]:
    by_id = {i: chunk._replace(chunk_id=i) for i, chunk in enumerate(chunks)}
    fused = dict(enumerate(scores or (0.5,) * len(chunks)))
    return priors.ordered(priors.apply(query, fused, by_id).scores)


@pytest.mark.parametrize("lower", ["docs", "config", "example", "test", "generated", "vendored", "minified"])
def test_sources_come_first(lower: str) -> None:
    assert _rank("q", _CHUNK._replace(path="a", file_class=lower), _CHUNK._replace(path="b")) == [1, 0]


@pytest.mark.parametrize("query", ["where is `append`?", "Ledger.append", "APPEND", "(append)"])
def test_the_definition_of_an_asked_name_comes_first(query: str) -> None:
    defines = _CHUNK._replace(path="a", name="append", symbol="Ledger.append")
    assert _rank(query, _CHUNK._replace(path="b", name="other"), defines) == [1, 0]


def test_a_file_named_like_the_question_comes_first() -> None:
    assert _rank("ledger rotation", _CHUNK._replace(path="src/a.py"), _CHUNK._replace(path="src/ledger.py")) == [1, 0]


def test_a_file_with_several_good_chunks_comes_first() -> None:
    ranks = _rank("q", _CHUNK._replace(path="lone"), _CHUNK._replace(path="rich"), _CHUNK._replace(path="rich"))
    assert ranks[0] == 1


def test_further_chunks_of_a_file_decay() -> None:
    many = [_CHUNK._replace(path="one")] * 8
    assert _rank("q", *many, _CHUNK._replace(path="two"), scores=(*[0.6] * 8, 0.5)).index(8) < 5


def test_what_was_not_hydrated_is_left_out_and_nothing_stays_nothing() -> None:
    assert priors.apply("q", {1: 1.0}, {}).scores == {}


def test_ties_are_broken_by_id() -> None:
    assert priors.ordered({3: 0.5, 1: 0.5, 2: 0.9}) == [2, 1, 3]


def test_a_name_in_a_sentence_counts_half() -> None:
    chunks = {1: _CHUNK._replace(chunk_id=1, name="append", symbol="Ledger.append")}
    alone, inside = (
        priors.apply(query, {1: 0.5}, chunks).effects([1])[1]["defines"]
        for query in ("append", "what does `append` do")
    )
    assert alone == 2 * inside > 0


def test_a_plain_word_is_not_a_name() -> None:
    chunks = {1: _CHUNK._replace(chunk_id=1, name="append")}
    assert "defines" not in priors.apply("how to append a line", {1: 0.5}, chunks).effects([1])[1]


@pytest.mark.parametrize("path", ["src/__init__.py", "lib/index.js", "app/_compat.py", "src/legacy/a.py", "a.pyi"])
def test_files_that_only_pass_on_come_later(path: str) -> None:
    assert _rank("q", _CHUNK._replace(path=path), _CHUNK._replace(path="src/a.py")) == [1, 0]


def test_words_of_the_folder_count_too() -> None:
    assert _rank("routing", _CHUNK._replace(path="a/x.py"), _CHUNK._replace(path="routing/y.py")) == [1, 0]


_MANY = {
    1: _CHUNK._replace(chunk_id=1, path="tests/ledger.py", file_class="test", name="append"),
    2: _CHUNK._replace(chunk_id=2, path="tests/ledger.py", file_class="test"),
    3: _CHUNK._replace(chunk_id=3, path="src/__init__.py"),
}
_FUSED = {1: 0.9, 2: 0.8, 3: 0.7}


def test_the_effects_explain_the_score() -> None:
    scored = priors.apply("ledger `append`", _FUSED, _MANY)
    effects = scored.effects(_FUSED)
    for chunk_id, score in scored.scores.items():
        assert score == pytest.approx(_FUSED[chunk_id] + sum(effects[chunk_id].values()))
    assert set().union(*effects.values()) == set(priors.PRIORS)


@pytest.mark.parametrize("name", priors.PRIORS)
def test_each_prior_can_be_left_out(name: str) -> None:
    scored = priors.apply("ledger `append`", _FUSED, _MANY, without={name})
    assert name not in set().union(*scored.effects(_FUSED).values())
    assert scored.scores != priors.apply("ledger `append`", _FUSED, _MANY).scores
