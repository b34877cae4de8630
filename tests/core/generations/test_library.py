"""A library keeps a bound on what is open: nothing in use is closed, and what a request does without is named."""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GenerationCorrupt, InvalidRequest
from codeintel_core.generations import open_set
from codeintel_core.generations.library import Library
from codeintel_core.home import Home
from codeintel_core.scope import Scope
from tests.conftest import Repo
from tests.core import specimen

_NAMES = [f"r{number}" for number in range(8)]


@pytest.fixture
def many(home: Home, published: Path) -> Home:
    """Eight repositories that share the files of one generation, which is all that opening and closing see of them."""
    demo = home.repository("demo")
    for name in _NAMES:
        shutil.copytree(demo.root, home.repository(name).root)
        home.repository(name).registration.write_text(json.dumps({"name": name, "source": "/x", "branch": ""}))
    shutil.rmtree(demo.root)
    return home


@pytest.fixture
def library(many: Home) -> Library:
    return Library(many, most_open=3)


def _open(library: Library) -> list[str]:
    return [name for name in _NAMES if library.is_open(name)]


def _evicted() -> float:
    return open_set.EVICTED._value.get()


def test_nothing_is_open_before_it_is_asked_for(library: Library) -> None:
    assert library.serving() == []
    with library.pin(["r3"]) as (generation,):
        assert _open(library) == ["r3"]
        assert generation.lexical is not None
    assert (library.open_set.count, library.open_set.verified) == (1, 1)


def test_the_longest_unused_is_closed_and_opened_again_when_asked_for(library: Library) -> None:
    before, again = _evicted(), open_set.OPENED.labels("again")._value.get()
    for name in ("r0", "r1", "r2", "r0", "r3"):
        with library.pin([name]):
            pass
    assert _open(library) == ["r0", "r2", "r3"]
    with library.pin(["r1"]) as (generation,):
        assert len(generation.catalog.hydrate(_ids(), Scope())) > 0
    assert _open(library) == ["r0", "r1", "r3"]
    assert (_evicted() - before, open_set.OPENED.labels("again")._value.get() - again) == (2, 1)
    assert library.open_set.verified == 4


def test_what_is_in_use_stays_open_beyond_the_bound_until_it_is_released(library: Library) -> None:
    with library.pin(["r0", "r1", "r2"]) as held:
        with library.pin(["r3", "r4"]):
            assert library.open_set.count == 5
        assert _open(library) == ["r0", "r1", "r2"]
        assert all(generation.catalog.count() for generation in held)
    assert library.open_set.count == 3


@pytest.mark.e2e
def test_a_bound_holds_with_many_threads(library: Library) -> None:
    errors: list[str] = []

    def ask(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            names = chance.sample(_NAMES, chance.randint(1, 3))
            try:
                with library.pin(names) as pinned:
                    if [g.catalog.count() for g in pinned] != [7] * len(names):
                        errors.append("another count")
            except Exception as error:
                errors.append(repr(error))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with library.pin(["r0"]):
        pass
    assert errors == []
    assert library.open_set.count <= 3


def test_a_swap_while_it_was_closed_is_seen_when_it_is_opened_again(home: Home, source: Repo, published: Path) -> None:
    specimen.publish_files(home, source, name="other")
    library = Library(home, most_open=1)
    with library.pin(["demo"]) as (old,):
        first = old.manifest.gen_id
    with library.pin(["other"]):
        pass
    newer = specimen.publish_files(home, source, {**specimen.FILES, "z.py": {"z": "def z():\n    return 1\n"}})
    assert list(library.refreshed()) == []  # there is no room, and it is not in use
    with library.pin(["demo"]) as (generation,):
        assert generation.manifest.gen_id == newer.name
        with library.pin(["demo"], as_of=first) as (past,):
            assert past.manifest.gen_id == first


def test_the_served_one_is_no_past_one_when_it_was_closed(library: Library) -> None:
    with library.pin(["r0"]) as (generation,):
        gen_id = generation.manifest.gen_id
    with library.pin(["r1", "r2", "r3"]):
        pass
    assert "r0" not in _open(library)
    with library.pin(["r0"], as_of=gen_id):
        assert "r0" in _open(library)


def test_only_what_there_is_room_for_is_opened_ahead(library: Library) -> None:
    assert list(library.refreshed(deadline=Deadline.after(-1))) == []
    assert list(library.refreshed()) == ["r0", "r1", "r2"]
    assert list(library.refreshed()) == []
    assert list(library.refreshed(["r7"])) == ["r7"]  # asked for by name


def test_what_cannot_be_opened_in_time_is_named(library: Library) -> None:
    with library.pin(["r2"]):
        pass
    with library.pin_in_time(["r0", "r1", "r2"], "", Deadline.after(-1)) as pinned:
        assert [generation.manifest.gen_id for generation in pinned.generations] == [
            library.reader("r2").published().gen_id
        ]
        assert set(pinned.left_out) == {"r0", "r1"}
        assert "no time" in pinned.left_out["r0"]
    with library.pin_in_time(["r5"], "", Deadline.after(-1)) as pinned:  # one is always opened
        assert (len(pinned.generations), pinned.left_out) == (1, {})


def test_what_another_thread_is_still_opening_is_named(library: Library) -> None:
    with library.pin(["r0"]):
        pass
    with library.reader("r1")._lock, library.pin_in_time(["r0", "r1"], "", Deadline.after(0.01)) as pinned:
        assert list(pinned.left_out) == ["r1"]


def test_more_than_may_be_open_are_named_or_refused(library: Library) -> None:
    with library.pin_in_time((), "", Deadline.after(60)) as pinned:
        assert len(pinned.generations) == 3
        assert list(pinned.left_out) == _NAMES[3:]
        assert "more than the 3" in pinned.left_out["r7"]
    refused = pytest.raises(InvalidRequest, match=r"8 repositories .* 3 may be open at once \(CODEINTEL_OPEN")
    with refused, library.pin([]):
        pass


def test_a_damaged_one_is_named_unless_it_was_asked_for(many: Home) -> None:
    library = Library(many)
    file = next(many.repository("r1").generations.glob("*/dense/primary.faiss"))
    file.write_bytes(b"junk")
    with library.pin_in_time((), "", Deadline.after(60)) as pinned:
        assert list(pinned.left_out) == ["r1"]
        assert "primary.faiss" in pinned.left_out["r1"]
    assert len(library.problems()) == 1
    for pin in _strict(library):
        with pytest.raises(GenerationCorrupt, match=r"primary\.faiss"):
            pin()


def _strict(library: Library) -> list[Callable[[], object]]:
    return [
        lambda: library.pin(()).__enter__(),
        lambda: library.pin_in_time(["r0", "r1"], "", Deadline.after(60)).__enter__(),
        lambda: library.pin_in_time(["r1"], "", Deadline.after(60), only_kept=True).__enter__(),
    ]


def test_the_bound_follows_the_limit_on_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((1_024, 164), (256, 11), (100, 4), (1_000_000, 1_000)):
        monkeypatch.setattr(open_set.resource, "getrlimit", lambda _, files=files: (files, files))
        assert open_set.affordable(1_000) == most


def _ids() -> list[int]:
    return [row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES)]
