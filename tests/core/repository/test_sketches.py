"""Sketches: what a text holds is never denied, and what it lacks mostly is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codeintel_core.repository import sketches as repository_sketches
from codeintel_core.repository.sketches import Room, Sketches

STAMP = (1, 2, 3)


def looked_at(
    sketches: Sketches, names: list[str], part: bytes, stamp: tuple[int, int, int] | None = STAMP
) -> list[str]:
    return sketches.that_may_hold(names, str, part, stamp)


def of_now(room: Room) -> Sketches:
    """Sketches under the purge list of `STAMP`."""
    sketches = Sketches(room)
    sketches.that_may_hold([], str, b"", STAMP)
    return sketches


@given(st.lists(st.binary(max_size=300), max_size=6), st.binary(max_size=80), st.integers(0, 5), st.integers(0, 300))
@example([b"abc", b""], b"abc", 0, 0)
def test_a_text_that_holds_the_part_is_looked_at(texts: list[bytes], part: bytes, which: int, at: int) -> None:
    if texts:  # one of them holds it
        text = texts[which % len(texts)]
        texts[which % len(texts)] = text[:at] + part + text[at:]
    sketches = of_now(Room(1_000))
    names = [str(number) for number in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        sketches.keep(name, text, STAMP)
    assert {name for name, text in zip(names, texts, strict=True) if part in text} <= {
        *looked_at(sketches, names, part)
    }


def test_most_texts_without_the_part_are_not_looked_at() -> None:
    """Of the files of this project."""
    texts = {str(path): path.read_bytes() for path in sorted(Path(__file__).parents[3].glob("codeintel_*/**/*.py"))}
    sketches = of_now(Room(2_000))
    for name, text in texts.items():
        sketches.keep(name, text, STAMP)
    for part in (b"Sketches", b"that_may_hold", b"KeptTexts", b"no such text"):
        wanted = {name for name, text in texts.items() if part in text}
        found = looked_at(sketches, list(texts), part)
        assert wanted <= set(found)
        assert len(found) < len(wanted) + len(texts) / 10


def test_what_has_no_sketch_and_what_is_too_short_is_looked_at() -> None:
    sketches = of_now(Room(1_000))
    sketches.keep("known", b"some text", STAMP)
    assert looked_at(sketches, ["known", "new"], b"other") == ["new"]
    assert looked_at(sketches, ["known", "new"], b"ot") == ["known", "new"]
    assert looked_at(sketches, [], b"other") == []


def test_under_another_purge_list_all_are_forgotten_and_what_was_masked_by_an_older_one_is_not_kept() -> None:
    sketches = of_now(Room(1_000))
    sketches.keep("a", b"some text", STAMP)
    assert looked_at(sketches, ["a"], b"other") == []
    assert looked_at(sketches, ["a"], b"other", (9, 9, 9)) == ["a"]
    assert not sketches._bits.any()
    sketches.keep("a", b"some text", STAMP)
    assert looked_at(sketches, ["a"], b"other", (9, 9, 9)) == ["a"]


def test_they_take_no_more_room_than_there_is_and_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(150)
    first, second = of_now(room), of_now(room)
    names = [str(number) for number in range(200)]
    for name in names:
        first.keep(name, b"some text", STAMP)
        second.keep(name, b"some text", STAMP)
    kept = [200 - len(looked_at(sketches, names, b"other")) for sketches in (first, second)]
    assert sum(kept) == 150
    made: list[bytes] = []
    monkeypatch.setattr(repository_sketches, "_sketch", made.append)  # to see that no text is sketched in vain
    second.keep("new", b"some text", STAMP)
    first.close()
    first.keep("new", b"some text", STAMP)
    assert made == []
    assert looked_at(first, names, b"other") == names
    monkeypatch.undo()
    for name in names:
        second.keep(name, b"some text", STAMP)
    assert 200 - len(looked_at(second, names, b"other")) == 150


def test_threads_that_see_different_purge_lists_never_miss_a_text() -> None:
    sketches = of_now(Room(1_000))
    texts = {str(number): b"text number %d" % number for number in range(50)}
    missed: list[str] = []

    def ask(stamp: tuple[int, int, int]) -> None:
        for name, text in list(texts.items()) * 4:
            sketches.keep(name, text, stamp)
            if name not in looked_at(sketches, list(texts), text, stamp):
                missed.append(name)

    threads = [threading.Thread(target=ask, args=((number % 2, 0, 0),)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missed == []
