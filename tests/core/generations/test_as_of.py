"""`as_of`: an id, a date or a commit finds its generation, whatever serves; all else is refused naming what is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from codeintel_core.errors import GenerationCorrupt, InvalidRequest, UnknownGeneration
from codeintel_core.generations import as_of, leases
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.library import Library
from codeintel_core.home import Home, RepositoryHome
from tests.conftest import Repo
from tests.core import specimen
from tests.core.conftest import Template, copied


@pytest.fixture
def at(home: Home) -> RepositoryHome:
    return home.repository("demo")


def _dated(folder: Path, created_at: datetime) -> str:
    """Give a generation another age; returns its id."""
    manifests.save(folder, manifests.load(folder).model_copy(update={"created_at": created_at}))
    return folder.name


@pytest.fixture(scope="module")
def _two(template: Template) -> Path:
    return template(specimen.FILES, {**specimen.FILES, "b.py": {"b": "def b():\n    pass\n"}})


@pytest.fixture
def two(home: Home, source: Repo, _two: Path) -> tuple[str, str]:
    """A generation of 1 March 2026, 12:00, and one of 2 March."""
    older, newer = copied(_two, home, source)
    first = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return _dated(older, first), _dated(newer, first + timedelta(days=1))


def test_an_id_a_date_or_a_commit(at: RepositoryHome, two: tuple[str, str]) -> None:
    old, new = two
    commits = [manifests.load(at.generation(gen_id)).commit for gen_id in two]
    for when, expected in {
        old: old,
        new: new,
        f" {old} ": old,
        "2026-03-01": old,
        "2026-03-01T12:00:00Z": old,
        "2026-03-01T14:00:00+02:00": old,
        "2026-03-02": new,
        "2026-03-02T11:59": old,
        "9999-12-31": new,
        commits[0]: old,
        commits[0][:7].upper(): old,
        commits[1]: new,
    }.items():
        assert as_of.resolve(at, when) == expected, when


@pytest.mark.parametrize("when", ["2026-02-28", "2026-03-01T11:59Z", "0" * 40, "20260101t000000000000-aaaaaaaaaa-ffff"])
def test_what_is_not_kept_names_what_is(at: RepositoryHome, two: tuple[str, str], when: str) -> None:
    with pytest.raises(UnknownGeneration, match=f"{two[1]} .commit .*built 2026-03-02 12:00.*{two[0]}"):
        as_of.resolve(at, when)


@pytest.mark.parametrize(
    "when", ["", " ", "yesterday", "abc", "../x", "2026-13-01", "x" * 101, "a\0b", "HEAD~1", "9" * 99]
)
def test_what_cannot_be_meant_names_the_forms(at: RepositoryHome, two: tuple[str, str], when: str) -> None:
    with pytest.raises((InvalidRequest, UnknownGeneration), match="as_of"):
        as_of.resolve(at, when)


def test_a_pinned_old_generation_answers_with_its_own_content(home: Home, two: tuple[str, str]) -> None:
    library = Library(home)
    with library.pin(["demo"], as_of=two[0]) as (old,), library.pin(["demo"]) as (new,):
        assert (old.manifest.gen_id, new.manifest.gen_id) == two
        assert old.file("b.py") is None
        assert new.file("b.py") is new.file("b.py") is not None  # known: the catalog makes a row of its own each time
        with library.pin(["demo"], as_of="2026-03-01") as (again,):
            assert again is old
        with library.pin([], as_of=two[1]) as (serving,):
            assert serving is new
    library.close()
    assert leases.leased(home.repository("demo")) == {}


def test_only_repositories_that_keep_one_are_asked(home: Home, source: Repo, two: tuple[str, str]) -> None:
    specimen.publish_files(home, source, name="other")
    library = Library(home)
    with library.pin([], as_of=two[0]) as generations:
        assert [g.repo for g in generations] == ["demo"]
    with pytest.raises(UnknownGeneration), library.pin(["demo", "other"], as_of=two[0]):
        pass
    with pytest.raises(UnknownGeneration), library.pin([], as_of="2020-01-01"):
        pass


@pytest.mark.e2e
def test_few_old_generations_stay_open(home: Home, at: RepositoryHome, source: Repo, published: Path) -> None:
    folders = [
        published,
        *(specimen.publish_files(home, source, {"a.py": {"a": f"def a():\n    return {n}\n"}}) for n in range(7)),
    ]
    library = Library(home)
    with library.pin(["demo"], as_of=folders[0].name) as (held,):
        for folder in folders[1:]:
            with library.pin(["demo"], as_of=folder.name) as (generation,):
                assert generation.manifest.gen_id == folder.name
        assert len(leases.leased(at)) == 5  # four, and the one that is still held
        assert held.catalog.file("src/queue.go") is not None
    assert len(leases.leased(at)) == 4
    library.close()


def test_a_damaged_old_generation_is_refused_and_the_served_one_answers(home: Home, two: tuple[str, str]) -> None:
    (home.repository("demo").generation(two[0]) / "chunks.parquet").write_bytes(b"")
    library = Library(home)
    with pytest.raises(GenerationCorrupt, match="chunks.parquet"), library.pin(["demo"], as_of=two[0]):  # noqa: RUF043
        pass
    with library.pin(["demo"]) as (serving,):
        assert serving.manifest.gen_id == two[1]
    assert json.dumps(sorted(leases.leased(home.repository("demo")))) == json.dumps([two[1]])
