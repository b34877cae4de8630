"""The catalog: hits become chunks inside the scope only, scopes become exactly the ids inside them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from codeintel_core import catalog, chunk_rows, schemas
from codeintel_core.chunk_rows import ChunkPlace
from codeintel_core.database import Query
from codeintel_core.errors import GenerationCorrupt
from codeintel_core.scope import Scope
from codeintel_core.stopping import Work
from tests.core import specimen

_SCOPES = {
    "everything": (Scope(), 7),
    "repository only": (Scope(repos=("demo",)), 7),
    "path": (Scope(paths=("src/*.py",)), 4),
    "language": (Scope(languages=("go",)), 1),
    "two languages": (Scope(languages=("go", "python")), 7),
    "no tests": (Scope(include_tests=False), 6),
    "no tests, nothing vendored": (Scope(include_tests=False, include_generated=False), 5),
    "path and language": (Scope(paths=("src/",), languages=("python",)), 4),
    "nothing": (Scope(paths=("nowhere/",)), 0),
    "text that would be SQL": (Scope(paths=("a' OR '1'='1",), languages=("x'); DROP TABLE chunks; --",)), 0),
}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[catalog.Catalog]:
    chunks, files, symbols = specimen.tables("demo", specimen.FILES)
    catalog.build(tmp_path / "catalog.duckdb", chunks=chunks, files=files, symbols=symbols)
    opened = catalog.Catalog(tmp_path / "catalog.duckdb")
    yield opened
    opened.close()


@pytest.mark.parametrize("name", _SCOPES)
def test_a_scope_holds_for_ids_and_for_hydration(opened: catalog.Catalog, name: str) -> None:
    scope, count = _SCOPES[name]
    everything = {row["chunk_id"]: row for row in specimen.chunk_rows("demo", specimen.FILES)}
    hydrated = opened.hydrate(list(everything), scope)
    assert len(hydrated) == count
    allowed = opened.allowed_ids(scope)
    assert (set(everything) if allowed is None else set(allowed.tolist())) == set(hydrated)
    for chunk_id, row in hydrated.items():
        assert {name: everything[chunk_id][name] for name in row._fields} == {
            name: getattr(row, name) for name in row._fields
        }


def test_what_a_search_asks_does_not_start_duckdb(opened: catalog.Catalog) -> None:
    ids = [row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES)]
    scope = Scope(paths=("src/",), languages=("python",), include_tests=False)
    opened.allowed_ids(scope)
    opened.hydrate(ids, scope)
    opened.definitions(["torn_lines"], scope, 10)
    assert (opened.is_connected, opened.problem()) == (False, "")
    assert opened.file("src/ledger.py") is not None
    assert (opened.is_connected, opened.problem()) == (True, "")


def test_a_file_that_is_no_catalog_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    chunks, files, symbols = specimen.tables("demo", specimen.FILES)
    catalog.build(tmp_path / "catalog.duckdb", chunks=chunks, files=files, symbols=symbols)
    (tmp_path / "catalog.duckdb").write_bytes(b"x" * 20)
    with pytest.raises(GenerationCorrupt, match="not a DuckDB file"):
        catalog.Catalog(tmp_path / "catalog.duckdb")


def test_unknown_ids_are_left_out(opened: catalog.Catalog) -> None:
    assert opened.hydrate([], Scope()) == opened.places([], Scope()) == {}
    assert opened.hydrate([1, 2**63 - 1], Scope()) == opened.places([1, 2**63 - 1], Scope()) == {}


@pytest.mark.parametrize("most", [3, 10_000])
def test_places_are_those_of_the_chunks(opened: catalog.Catalog, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(chunk_rows, "_MOST_PLACES", most)
    ids = [row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES)]
    for scope, _ in _SCOPES.values():
        for asked in (ids[:2], ids, ids[1:]):  # partly kept, all kept, too many to keep
            chunks = opened.hydrate(asked, scope)
            assert opened.places(asked, scope) == {
                chunk_id: tuple(getattr(chunk, name) for name in ChunkPlace._fields)
                for chunk_id, chunk in chunks.items()
            }


@pytest.mark.parametrize("path", ["", "nope", "../src/ledger.py", "a\0b", "\ud800", "'"])
def test_a_file_that_is_not_there(opened: catalog.Catalog, path: str) -> None:
    assert opened.file(path) is None


def test_a_file(opened: catalog.Catalog) -> None:
    found = opened.file("src/ledger.py")
    assert found is not None
    assert (found.language, found.file_class, found.chunks) == ("python", "source", 4)


def test_the_same_chunk_twice_is_refused(tmp_path: Path) -> None:
    chunks, files, symbols = specimen.tables("demo", specimen.FILES)
    with pytest.raises(duckdb.ConstraintException):
        catalog.build(
            tmp_path / "catalog.duckdb", chunks=pa.concat_tables([chunks, chunks.slice(0, 1)]), files=files,
            symbols=symbols,
        )  # fmt: skip


def test_sample_definitions_are_unique_names_of_source_files(opened: catalog.Catalog) -> None:
    names = [row.name for row in opened.sample_definitions(10)]
    assert sorted(names) == ["Ledger", "append", "drainQueue", "rotate_ledger", "torn_lines"]
    assert [row.name for row in opened.sample_definitions(2)] == names[:2]


def test_a_file_that_is_no_catalog_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalog.duckdb").write_bytes(b"junk" * 5000)
    with pytest.raises(GenerationCorrupt, match=r"catalog\.duckdb"):
        catalog.Catalog(tmp_path / "catalog.duckdb")


def test_rows_are_plain_and_frozen(opened: catalog.Catalog) -> None:
    row = next(iter(opened.hydrate([specimen.chunk_rows("demo", specimen.FILES)[0]["chunk_id"]], Scope()).values()))
    assert row._replace(text="x").text == "x"
    with pytest.raises(AttributeError):
        row.text = "x"  # type: ignore[misc]


_V1 = specimen.FILES
_LATER = [
    {path: chunks for path, chunks in _V1.items() if path != "src/queue.go"} | {"new.py": {"fresh": "def fresh():\n"}},
    {**_V1, "src/ledger.py": {"Ledger": "class Ledger:\n    pass\n"}},  # brings back what was removed
    {**_V1, "src/ledger.py": {"Ledger": "class Ledger:\n    pass\n", "again": "def again():\n    pass\n"}},
    dict(_V1),  # as it began
]


def _symbols(chunks: pa.Table) -> pa.Table:
    """A definition for every chunk, and a reference that must not be taken for one."""
    rows = [{name: row.get(name) for name in schemas.SYMBOLS.names} for row in chunks.to_pylist()]
    both = [row | {"role": role} for row in rows for role in ("definition", "reference")]
    outside = [row | {"role": "definition", "chunk_id": None} for row in rows]
    return pa.Table.from_pylist([*both, *outside], schema=schemas.SYMBOLS)


def _defined(repo: str, files: specimen.Files) -> list[tuple[int, str, str]]:
    rows = {(row["chunk_id"], row["name"], row["symbol"]) for row in specimen.chunk_rows(repo, files)}
    return sorted(rows, key=lambda row: (len(row[2]), *row))


def test_definitions_are_found_by_their_whole_name_inside_the_scope(tmp_path: Path) -> None:
    chunks, files, _ = specimen.tables("demo", specimen.FILES)
    catalog.build(tmp_path / "catalog.duckdb", chunks=chunks, files=files, symbols=_symbols(chunks))
    with closing(catalog.Catalog(tmp_path / "catalog.duckdb")) as opened:
        everything = _defined("demo", specimen.FILES)
        names = [name for _, name, _ in everything]
        assert opened.definitions(names, Scope(), 100) == everything
        assert opened.definitions(names, Scope(), 2) == everything[:2]
        assert opened.definitions(["append", "nope", "appen", "APPEND", "", "\ud800"], Scope(), 9) == [
            row for row in everything if row[1] == "append"
        ]
        inside = {row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES) if row["language"] == "go"}
        found = opened.definitions(names, Scope(languages=("go",)), 9)
        assert {chunk_id for chunk_id, _, _ in found} == inside
        assert opened.definitions(names, Scope(paths=("nowhere/",)), 9) == []


def test_an_overlay_on_an_overlay_equals_a_catalog_written_at_once(tmp_path: Path) -> None:
    before: specimen.Files = _V1
    folder = tmp_path / "0"
    folder.mkdir()
    chunks, files, _ = specimen.tables("demo", before)
    catalog.build(folder / "catalog.duckdb", chunks=chunks, files=files, symbols=_symbols(chunks))
    for number, now in enumerate(_LATER, 1):
        parent, folder = folder / "catalog.duckdb", tmp_path / str(number)
        folder.mkdir()
        changed = {path: chunks for path, chunks in now.items() if before.get(path) != chunks}
        gone = [path for path, chunks in before.items() if now.get(path) != chunks]
        chunks, files, _ = specimen.tables("demo", changed)
        covered = catalog.extend(
            parent, folder / "catalog.duckdb", chunks=chunks, files=files, symbols=_symbols(chunks), gone=gone
        )
        assert covered >= chunks.num_rows + len(gone)
        assert (folder / "catalog.duckdb").samefile(tmp_path / "0" / "catalog.duckdb")
        expected = {row["chunk_id"]: row["start_line"] for row in specimen.chunk_rows("demo", now)}
        everything = [row["chunk_id"] for files in (_V1, *_LATER) for row in specimen.chunk_rows("demo", files)]
        with closing(catalog.Catalog(folder / "catalog.duckdb")) as opened:
            found = opened.hydrate(everything, Scope())
            assert {chunk_id: row.start_line for chunk_id, row in found.items()} == expected
            assert opened.paths(everything) == {chunk_id: row.path for chunk_id, row in found.items()}
            assert opened.count() == len(expected)
            names = {row["name"] for files in (_V1, *_LATER) for row in specimen.chunk_rows("demo", files)}
            assert opened.definitions(sorted(names), Scope(), 100) == _defined("demo", now)
            find = partial(opened.symbols.find, role="definition", limit=3)
            for name in (*names, *(defined[2] for defined in _defined("demo", now)), "nowhere"):
                assert find(Scope(), name=name) == find(Scope(paths=("**",)), name=name)  # without DuckDB, and with it
            assert [path for path in {**_V1, **now} if opened.file(path)] == [p for p in {**_V1, **now} if p in now]
            python = opened.allowed_ids(Scope(languages=("python",)))
            assert python is not None
            assert set(python.tolist()) == {i for i, row in found.items() if row.language == "python"}
        before = now
    (folder / "catalog_overlay_gone.arrow").unlink()  # as generations have it that were published before there was one
    with closing(catalog.Catalog(folder / "catalog.duckdb")) as opened:
        assert opened.hydrate(everything, Scope()) == found


def test_a_query_stops_when_nobody_waits_for_it(opened: catalog.Catalog) -> None:
    work, began = Work(), threading.Event()

    def query() -> object:
        began.set()
        endless = Query("SELECT count(*) FROM range(1000000000000) AS r(n)").where("n % $seven = 3", seven=7)
        return opened._database.rows(endless)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(work.context().run, query)
        assert began.wait(30)
        while not work._stops:  # until the query can be stopped
            assert not running.done()
        (stop,) = work._stops.values()
        work.give_up()
        while not running.done():  # an interrupt that comes before the query has begun is lost
            with suppress(duckdb.Error):  # its cursor is closed by now
                stop()
    with pytest.raises(asyncio.CancelledError):
        running.result()
    assert len(opened.hydrate(specimen_ids(), Scope())) > 0


def specimen_ids() -> list[int]:
    return [row["chunk_id"] for row in specimen.chunk_rows("demo", specimen.FILES)]
