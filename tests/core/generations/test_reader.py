"""Readers: a request keeps its generation to the end, a damaged one never serves, and a problem shows until solved."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from unittest import mock

import orjson
import pytest

from codeintel_core.errors import GenerationCorrupt, NotIndexed, UnknownRepository
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.library import Library
from codeintel_core.generations.publish import current_id, point_at
from codeintel_core.generations.reader import RepositoryReader, kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.scope import Scope
from codeintel_core.secrets import purged
from codeintel_core.secrets.purged import PurgeList
from tests.conftest import Repo
from tests.core import specimen

_MORE = {**specimen.FILES, "src/more.py": {"more_things": "def more_things():\n    return []\n"}}


@pytest.fixture
def at(home: Home) -> RepositoryHome:
    return home.repository("demo")


def _damage(folder: Path) -> None:
    path = folder / "dense" / "primary.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def _count(generation: Generation) -> int:
    return len(generation.catalog.hydrate([row["chunk_id"] for row in specimen.chunk_rows("demo", _MORE)], Scope()))


def _is_closed(generation: Generation) -> bool:
    return not generation.acquire()


def test_a_swap_leaves_a_pinned_generation_open_until_it_is_released(home: Home, source: Repo, published: Path) -> None:
    reader = RepositoryReader(home.repository("demo"))
    old, old_again = reader.acquire(), reader.acquire()
    assert old is old_again
    specimen.publish_files(home, source, _MORE)
    assert reader.refresh()
    new = reader.acquire()
    assert new is not old
    old.release()
    assert (_count(old), _count(new)) == (7, 8)
    assert old.lexical is not None and old.lexical.count == 7
    old_again.release()
    assert _is_closed(old)
    new.release()
    assert new.acquire()


def test_an_unused_generation_closes_at_the_swap(home: Home, source: Repo, published: Path) -> None:
    reader = RepositoryReader(home.repository("demo"))
    old = reader.acquire()
    old.release()
    specimen.publish_files(home, source, _MORE)
    reader.refresh()
    assert _is_closed(old)


def test_refresh_does_nothing_when_nothing_moved(at: RepositoryHome, published: Path) -> None:
    reader = RepositoryReader(at)
    assert reader.refresh()
    assert not reader.refresh()


def test_a_damaged_new_generation_leaves_the_old_one_serving(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    reader = RepositoryReader(at)
    reader.refresh()
    damaged = specimen.publish_files(home, source, _MORE)
    _damage(damaged)
    assert not reader.refresh()
    assert f"{damaged.name}: dense/primary.faiss has SHA-256" in reader.problem
    assert reader.acquire().manifest.gen_id == published.name
    assert not reader.refresh()  # it is not read again and again
    newest = specimen.publish_files(home, source, _MORE)
    assert reader.refresh()
    assert reader.problem == ""
    assert reader.acquire().manifest.gen_id == newest.name


def test_the_first_refresh_falls_back_to_the_newest_ancestor_that_opens(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    middle = specimen.publish_files(home, source, _MORE)
    damaged = specimen.publish_files(home, source, specimen.FILES)
    _damage(damaged)
    reader = RepositoryReader(at)
    assert reader.refresh()
    assert reader.acquire().manifest.gen_id == middle.name
    assert damaged.name in reader.problem
    _damage(middle)
    again = RepositoryReader(at)
    again.refresh()
    assert again.acquire().manifest.gen_id == published.name
    assert damaged.name in again.problem


def test_rolling_back_from_a_damaged_generation_solves_the_problem(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    reader = RepositoryReader(at)
    reader.refresh()
    damaged = specimen.publish_files(home, source, _MORE)
    _damage(damaged)
    reader.refresh()
    assert reader.problem
    point_at(at, published.name)
    reader.refresh()
    assert reader.problem == ""
    assert reader.acquire().manifest.gen_id == published.name


def test_what_passes_is_tried_again_ever_more_seldom(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    now = 0.0
    reader = RepositoryReader(at, clock=lambda: now)
    reader.refresh()
    newer = specimen.publish_files(home, source, _MORE)
    away = newer.with_name("away")
    newer.rename(away)  # as if its mount were lost
    waits = []
    for _ in range(10):
        assert not reader.refresh()
        found = re.search(r"failed (\d+) times; tried again after (\d+) s", reader.problem)
        assert found is not None
        assert int(found[1]) == len(waits) + 1
        waits.append(int(found[2]))
        problem, now = reader.problem, now + waits[-1] - 0.5
        assert not reader.refresh()
        assert reader.problem == problem  # not tried before its time
        now += 1
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    away.rename(newer)
    assert reader.refresh()
    assert reader.problem == ""
    assert reader.acquire().manifest.gen_id == newer.name


def test_when_nothing_opens_the_reason_is_raised(at: RepositoryHome, published: Path) -> None:
    _damage(published)
    reader = RepositoryReader(at)
    with pytest.raises(GenerationCorrupt, match=r"dense/primary\.faiss"):
        reader.acquire()


@pytest.mark.parametrize(
    ("name", "content"),
    [("dense/primary.faiss", b"junk"), ("dense/tombstones.parquet", b"junk"), ("catalog.duckdb", b"junk"),
     ("dense/primary_ids.npy", b"junk")],
)  # fmt: skip
def test_an_unverified_damage_that_cannot_be_opened_leaves_the_old_one_serving(
    home: Home, at: RepositoryHome, source: Repo, published: Path, name: str, content: bytes
) -> None:
    """With digests off the libraries' own exceptions appear; none of them may stop the watcher."""
    reader = RepositoryReader(at, verify=False)
    reader.refresh()
    damaged = specimen.publish_files(home, source, _MORE)
    (damaged / name).write_bytes(content)
    assert not reader.refresh()
    assert reader.problem
    assert reader.acquire().manifest.gen_id == published.name


def test_unusable_lucene_files_leave_the_rest_of_the_generation(at: RepositoryHome, published: Path) -> None:
    next((published / "lucene").glob("segments_*")).write_bytes(b"junk")
    reader = RepositoryReader(at, verify=False)
    generation = reader.acquire()
    assert generation.lexical is None
    assert "Lucene index cannot be opened" in generation.lexical_error


def test_operating_points_of_another_version_are_a_problem(at: RepositoryHome, published: Path) -> None:
    path = published / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    manifest["dense"]["operating"]["surprise"] = 1
    path.write_bytes(orjson.dumps(manifest))
    reader = RepositoryReader(at)
    assert not reader.refresh()
    assert published.name in reader.problem


def test_reading_and_checking_the_pinned_commit(home: Home, source: Repo, published: Path) -> None:
    reader = RepositoryReader(home.repository("demo"))
    generation = reader.acquire()
    source.commit({"src/ledger.py": "changed"})
    ids = [row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES)]
    chunks = generation.catalog.hydrate(ids, Scope())
    assert all(generation.matches_source(chunk) for chunk in chunks.values())
    assert generation.read_file("src/ledger.py") == specimen.sources(specimen.FILES)["src/ledger.py"].encode()
    assert generation.read_file("../repository.json") is None


@pytest.mark.e2e
def test_many_requests_during_swaps_see_whole_generations(home: Home, source: Repo, published: Path) -> None:
    reader = RepositoryReader(home.repository("demo"))
    reader.refresh()
    folders = [published, specimen.publish_files(home, source, _MORE)]
    sizes = {published.name: 7, folders[1].name: 8}
    stop, errors = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            try:
                generation = reader.acquire()
                if _count(generation) != sizes[generation.manifest.gen_id]:
                    errors.append(generation.manifest.gen_id)
                generation.release()
            except Exception as error:
                errors.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(6):
        point_at(home.repository("demo"), folders[turn % 2].name)
        reader.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_library_pins_what_is_asked(home: Home, source: Repo, published: Path) -> None:
    specimen.publish_files(home, source, name="other")
    library = Library(home)
    with library.pin([]) as pinned:
        assert [generation.repo for generation in pinned] == ["demo", "other"]
    with library.pin(["other", "other"]) as pinned:
        assert [generation.repo for generation in pinned] == ["other"]
    with pytest.raises(UnknownRepository, match="registered: demo, other"), library.pin(["nope"]):
        pass
    specimen.publish_files(home, source, _MORE)
    assert library.refresh() == ["demo"]
    library.close()


def test_a_library_with_nothing_to_search(home: Home, source: Repo) -> None:
    library = Library(home)
    with pytest.raises(NotIndexed, match="codeintel add"), library.pin([]):
        pass
    specimen.publish_files(home, source)
    at = home.repository("demo")
    at.current.unlink()
    with pytest.raises(NotIndexed, match="codeintel build demo"), library.pin(["demo"]):
        pass


def test_kept_generations_are_listed_oldest_first(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    newer = specimen.publish_files(home, source, _MORE)
    assert kept(at) == [published.name, newer.name]
    assert current_id(at) == newer.name


def test_a_purged_text_that_begins_in_another_chunk_is_masked_as_it_is_read(home: Home, published: Path) -> None:
    generation = RepositoryReader(home.repository("demo")).acquire()
    assert generation.lexical is not None
    ids = generation.lexical.chunk_ids.tolist()
    purged.save(home.purged, PurgeList(patterns=(r"(?s)\.write\(.*def torn_\w+",)))
    changed = generation.changed_by_purges(ids, Scope())
    assert {row.symbol for row in changed.values() if row} == {"Ledger.append", "torn_lines"}
    rows = generation.hydrate(ids, Scope())
    assert all(rows[at] == row for at, row in changed.items())
    assert all(generation.matching(list(rows.values())))
    assert "torn_lines" not in "".join(row.text for row in rows.values())
    purged.save(home.purged, PurgeList(paths=frozenset({("demo", "src/queue.go")})))
    assert list(generation.changed_by_purges(ids, Scope()).values()) == [None]
    generation.release()


_VAULT = '''def open_vault(
    code, hint
):
    """Opens it.

    Say swordfish-twelve, then wait."""
    return code
'''
_SIGNATURE, _DOCSTRING = "def open_vault( code, hint ):", "Opens it.\nSay swordfish-twelve, then wait."


@pytest.mark.parametrize(
    ("pattern", "docstring", "signature"),
    [
        (r"swordfish-\w+", _DOCSTRING.replace("swordfish-twelve", "*" * 16), _SIGNATURE),
        (" +Say swordfish", "", _SIGNATURE),  # the docstring is quoted without its blanks
        (r'wait\."+', "", _SIGNATURE),  # and without its quotes
        ("(?s)code,.*Opens", "", ""),
        ("return co[d]e", _DOCSTRING, _SIGNATURE),
    ],
)
def test_what_is_quoted_of_a_file_is_masked_as_the_file(
    home: Home, source: Repo, pattern: str, docstring: str, signature: str
) -> None:
    folder = specimen.publish_files(home, source, {"src/vault.py": {"open_vault": _VAULT}})
    generation = Generation.open(folder, home.repository("demo").mirror)
    assert generation.lexical is not None
    ids = generation.lexical.chunk_ids.tolist()
    quoted = {
        at: row._replace(signature=_SIGNATURE, docstring=_DOCSTRING)
        for at, row in generation.catalog.hydrate(ids, Scope()).items()
    }
    purged.save(home.purged, PurgeList(patterns=(pattern,)))
    with mock.patch.object(type(generation.catalog), "hydrate", return_value=quoted):
        (row,) = generation.hydrate(ids, Scope()).values()
    assert (row.docstring, row.signature) == (docstring, signature)


def test_without_its_mirror_a_purge_masks_each_chunk(home: Home, published: Path) -> None:
    generation = RepositoryReader(home.repository("demo")).acquire()
    assert generation.lexical is not None
    home.repository("demo").mirror.rename(home.root / "gone")
    purged.save(home.purged, PurgeList(patterns=("torn_lines",)))
    rows = generation.hydrate(generation.lexical.chunk_ids.tolist(), Scope())
    assert len(rows) == 7
    assert "def **********(path):" in "".join(row.text for row in rows.values())
    generation.release()


def test_a_purge_of_how_a_text_begins_masks_each_text(home: Home, published: Path) -> None:
    generation = RepositoryReader(home.repository("demo")).acquire()
    assert generation.lexical is not None
    ids = generation.lexical.chunk_ids.tolist()
    assert any(row.text.startswith("def rotate_ledger") for row in generation.hydrate(ids, Scope()).values())
    purged.save(home.purged, PurgeList(patterns=("^def rotate_ledger",)))
    rows = generation.hydrate(ids, Scope()).values()
    assert len(rows) == len(ids)
    assert not any("def rotate_ledger" in row.text for row in rows)
    generation.release()
