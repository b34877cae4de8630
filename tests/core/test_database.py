"""The database: a cursor per request on one connection, values bound, stopped at the deadline; globs are exact."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from codeintel_core.database import Database, Query
from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, GenerationCorrupt, InvalidRequest
from codeintel_core.scope import MAX_GLOB_CHARS, Scope, glob_to_regex
from codeintel_core.stopping import part
from codeintel_core.telemetry import metrics

PATHS = [
    "a%b.py",
    "a_b.py",
    "axb.py",
    "a\\b.py",
    "[a].py",
    "a.py",
    "{a,b}.py",
    "src/a.py",
    "src/deep/a.py",
    "$.py",
    "q'.py",
]
SLOW = Query("SELECT sum(i * j) FROM range(100000000) a(i), range(1000) b(j)")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    path = tmp_path_factory.mktemp("database") / "files.duckdb"
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE TABLE files (path VARCHAR, language VARCHAR, file_class VARCHAR)")
        db.executemany("INSERT INTO files VALUES (?, 'python', 'source')", [[path] for path in PATHS])
        db.execute("CREATE TABLE numbers AS SELECT i, hash(i) AS h FROM range(20000) t(i)")
    opened = Database.open(path)
    yield opened
    opened.close()


def inside(database: Database, glob: str) -> list[str]:
    rows = database.rows(Query("SELECT path FROM files").inside(Scope(paths=(glob,))).then("ORDER BY path"))
    return [path for (path,) in rows]


@pytest.mark.parametrize(
    ("glob", "paths"),
    [
        ("a%b.py", ["a%b.py"]),
        ("a_b.py", ["a_b.py"]),
        ("a\\b.py", ["a\\b.py"]),
        ("[a].py", ["[a].py"]),
        ("{a,b}.py", ["{a,b}.py"]),
        ("$.py", ["$.py"]),
        ("q'.py", ["q'.py"]),
        ("a?b.py", ["a%b.py", "a\\b.py", "a_b.py", "axb.py"]),
        ("*.py", sorted(path for path in PATHS if "/" not in path)),
        ("**/a.py", ["a.py", "src/a.py", "src/deep/a.py"]),
        ("src/", ["src/a.py", "src/deep/a.py"]),
        ("%", []),
        ("_", []),
        ("", None),
        ("*" * 1_000, None),
        ("x" * (MAX_GLOB_CHARS + 1), None),
        ("a\0b", None),
    ],
)
def test_globs_have_their_exact_meaning_or_are_refused(database: Database, glob: str, paths: list[str] | None) -> None:
    if paths is None:
        with pytest.raises(InvalidRequest, match=r"1\.\.300|20 stars"):
            inside(database, glob)
    else:
        assert inside(database, glob) == paths


def matches(glob: str, path: str) -> bool:
    """What a glob means, said again without regular expressions."""
    if not glob:
        return not path
    if glob.startswith("**/"):
        return matches(glob[3:], path) or any(matches(glob, path[i + 1 :]) for i, c in enumerate(path) if c == "/")
    if glob.startswith("**"):
        return any(matches(glob[2:], path[i:]) for i in range(len(path) + 1))
    if glob[0] == "*":
        end = path.find("/") if "/" in path else len(path)
        return any(matches(glob[1:], path[i:]) for i in range(end + 1))
    if not path or (glob[0] == "?" and path[0] == "/"):
        return False
    return glob[0] in ("?", path[0]) and matches(glob[1:], path[1:])


@settings(max_examples=300)
@given(st.text("a/*?.%", min_size=1, max_size=8), st.text("a/b.%", max_size=8))
def test_a_glob_matches_what_it_means(glob: str, path: str) -> None:
    meant = glob + "**" if glob.endswith("/") else glob
    assert (re2.fullmatch(glob_to_regex(glob), path) is not None) == matches(meant, path)


def test_a_hundred_queries_at_once_find_the_same(database: Database) -> None:
    def ask(number: int) -> list[tuple[object, ...]]:
        low = number % 5 * 1_000
        query = Query("SELECT i, h FROM numbers").where("i >= $low AND i < $low + 2000", low=low).then("ORDER BY h")
        return database.rows(query, Deadline.after(60))

    alone = [ask(number) for number in range(5)]
    with ThreadPoolExecutor(25) as pool:
        together = list(pool.map(ask, range(100)))
    assert together == [alone[number % 5] for number in range(100)]
    assert metrics.DATABASE_CURSORS._value.get() == 0


def test_a_query_stops_at_its_deadline_and_the_connection_goes_on(database: Database) -> None:
    with pytest.raises(DeadlineExceeded):
        database.rows(SLOW, Deadline.after(0.05))
    assert database.row(Query("SELECT count(*) FROM files")) == (len(PATHS),)


def test_a_query_stops_when_nobody_waits(database: Database) -> None:
    work = part()
    threading.Timer(0.05, work.give_up).start()
    with pytest.raises(asyncio.CancelledError):
        work.context().run(database.rows, SLOW, Deadline.after(60))


def test_values_are_bound_and_never_text(database: Database) -> None:
    query = Query("SELECT path FROM files").where("path = $path", path="' OR true --")
    assert database.rows(query) == []
    assert "OR true" not in query.sql
    with pytest.raises(ValueError, match="bound twice: path"):
        query.where("path <> $path", path="x")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.duckdb").write_bytes(b"nope" * 100)
    with pytest.raises(GenerationCorrupt, match=r"x\.duckdb cannot be opened"):
        Database.open(tmp_path / "x.duckdb")


class _Cursor:
    """A cursor whose thread stops for a while right after it was closed."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self.is_closed, self.may_go = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def close(self) -> None:
        self._cursor.close()
        self.is_closed.set()
        assert self.may_go.wait(30)


class _Connection:
    def __init__(self) -> None:
        self._connection = duckdb.connect()
        self.last = _Cursor(self._connection.cursor())

    def cursor(self) -> _Cursor:
        return self.last

    def close(self) -> None:
        self._connection.close()


def test_it_is_closed_while_a_query_ends() -> None:
    connection = _Connection()
    database = Database(lambda: cast(duckdb.DuckDBPyConnection, connection))
    with ThreadPoolExecutor(2) as pool:
        asked = pool.submit(database.row, Query("SELECT 1"))
        assert connection.last.is_closed.wait(30)
        closing = pool.submit(database.close)
        assert not database._changed.acquire(blocking=False)  # nobody sees a closed cursor that is still in use
        connection.last.may_go.set()
        assert asked.result(30) == (1,)
        closing.result(30)
    with pytest.raises(duckdb.ConnectionException, match="closed"):
        database.row(Query("SELECT 1"))
