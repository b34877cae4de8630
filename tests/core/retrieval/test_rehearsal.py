"""What is searched before anybody asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import RepositoryReader
from codeintel_core.home import Home
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.retrieval.rehearsal import rehearse


@pytest.fixture
def generation(home: Home, published: Path) -> Generation:
    return RepositoryReader(home.repository("demo")).acquire()


def test_a_few_chunks_are_searched_often(generation: Generation, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []
    search = LexicalSearcher.search_owned

    def watched(*args: object) -> object:
        result = search(*args)  # type: ignore[arg-type]
        found.append(len(result[0]))
        return result

    monkeypatch.setattr(LexicalSearcher, "search_owned", watched)  # it sees the real searches and changes none
    assert rehearse(generation, 50, Deadline.after(60)) == len(found) == 200
    assert min(found) > 0  # each finds at least the chunk that it was taken from


def test_it_ends_in_time(generation: Generation) -> None:
    assert rehearse(generation, 50, Deadline.after(0)) == 0


def test_without_words_there_is_nothing_to_rehearse(generation: Generation) -> None:
    assert generation.lexical is not None
    generation.lexical.close()
    generation.lexical = None
    assert rehearse(generation, 50, Deadline.after(60)) == 0
