"""DuckDB files that are read by many threads: one connection per file, one cursor per request, bound values only.

Source of the rule: duckdb.org/docs/stable/clients/python/overview ("use a cursor per thread").
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import duckdb
import numpy as np
from numpy.typing import NDArray

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GenerationCorrupt
from codeintel_core.scope import Scope
from codeintel_core.stopping import stoppable
from codeintel_core.telemetry import metrics

_LOOK_S = 0.02  # how late a query may be stopped after its deadline


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT in the making. Its texts are written in our code; what callers say is only ever a bound value.

    Attributes:
        select: what stands before WHERE.
        conditions: joined by AND, with `$name` where a value belongs.
        values: the values by name.
        tail: what stands after WHERE: GROUP BY, ORDER BY and LIMIT.
    """

    select: str
    conditions: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)
    tail: str = ""

    def where(self, condition: str, **values: object) -> Self:
        """With one more condition; raises `ValueError` when a name is bound to two values."""
        clash = {name for name in values if name in self.values and self.values[name] != values[name]}
        if clash:
            raise ValueError(f"bound twice: {', '.join(sorted(clash))}")
        return replace(self, conditions=(*self.conditions, condition), values={**self.values, **values})

    def inside(self, scope: Scope) -> Self:
        """Of tables with the columns path, language and file_class: what the scope lets through."""
        query = self
        if scope.paths:
            query = query.where("regexp_full_match(path, $path_regex)", path_regex=scope.path_regex())
        if scope.languages:
            query = query.where("language IN (SELECT unnest($languages))", languages=list(scope.languages))
        if scope.excluded_classes:
            query = query.where("file_class NOT IN (SELECT unnest($excluded))", excluded=list(scope.excluded_classes))
        return query

    def then(self, tail: str, **values: object) -> Self:
        """With what comes after WHERE."""
        return replace(self, tail=tail, values={**self.values, **values})

    @property
    def sql(self) -> str:
        """The statement."""
        where = " AND ".join(f"({condition})" for condition in self.conditions) or "true"
        return f"{self.select} WHERE {where} {self.tail}".strip()


CONFIG: dict[str, str | bool | int | float | list[str]] = {"threads": "1", "async_threads": "0"}
"""Of every instance that is only read: its callers bring the threads. Without it each has eight of its own."""


class Database:
    """A DuckDB connection that is only read, safe to use from several threads at once."""

    def __init__(self, connect: Callable[[], duckdb.DuckDBPyConnection]) -> None:
        """`connect` is called at the first query: an instance costs 20 ms and 4 MiB, and most are never asked."""
        self._connect = connect
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._is_closed = False
        self._changed = threading.Condition()
        self._cursors: set[duckdb.DuckDBPyConnection] = set()  # in use

    @classmethod
    def open(cls, path: Path) -> Self:
        """A file; raises `GenerationCorrupt` when it cannot be opened."""
        try:
            connection = duckdb.connect(str(path), read_only=True, config=CONFIG)
        except duckdb.Error as error:
            raise GenerationCorrupt(f"{path.name} cannot be opened: {str(error).splitlines()[0]}") from None
        return cls(lambda: connection)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def is_idle(self) -> bool:
        """Whether nothing was asked yet."""
        return not self.is_connected and not self._is_closed

    def close(self) -> None:
        """Stop what still runs and close the connection, which DuckDB refuses while one of its cursors works."""
        with self._changed:
            while self._cursors:
                for cursor in self._cursors:
                    cursor.interrupt()
                self._changed.wait(_LOOK_S)  # again: an interrupt that comes before the query has begun is lost
            self._is_closed = True
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def rows(self, query: Query, deadline: Deadline | None = None) -> list[tuple[Any, ...]]:
        """All rows; raises `DeadlineExceeded` when the query was stopped at its deadline."""
        with self._cursor(deadline) as cursor:
            return cursor.execute(query.sql, dict(query.values)).fetchall()

    def row(self, query: Query) -> tuple[Any, ...] | None:
        """The first row."""
        with self._cursor(None) as cursor:
            return cursor.execute(query.sql, dict(query.values)).fetchone()

    def column(self, query: Query, name: str, deadline: Deadline | None = None) -> NDArray[Any]:
        """One column as an array."""
        with self._cursor(deadline) as cursor:
            found: NDArray[Any] = np.asarray(cursor.execute(query.sql, dict(query.values)).fetchnumpy()[name])
            return found

    @contextmanager
    def _cursor(self, deadline: Deadline | None) -> Iterator[duckdb.DuckDBPyConnection]:
        tracked = metrics.DATABASE_CURSORS.track_inprogress()
        with self._opened() as cursor, tracked, stoppable(cursor.interrupt):
            if deadline is None:
                yield cursor
                return
            deadline.check("a catalog query")
            with _watchdog.watching(cursor, deadline):
                try:
                    yield cursor
                except duckdb.InterruptException:
                    deadline.check("a catalog query")
                    raise

    @contextmanager
    def _opened(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._changed:  # DuckDB refuses two calls of one connection at once
            if self._is_closed:
                raise duckdb.ConnectionException("the database is closed")
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.cursor()
            self._cursors.add(cursor)
        try:
            yield cursor
        finally:
            with self._changed:  # together: who closes the database interrupts what is in use, and not what is closed
                self._cursors.discard(cursor)
                cursor.close()
                self._changed.notify_all()


class _Watchdog:
    """One thread that interrupts the queries whose deadline is over; it sleeps while there are none."""

    def __init__(self) -> None:
        self._watched: dict[int, tuple[duckdb.DuckDBPyConnection, Deadline]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, cursor: duckdb.DuckDBPyConnection, deadline: Deadline) -> Iterator[None]:
        with self._changed:
            self._watched[id(cursor)] = (cursor, deadline)
            if self._thread is None or not self._thread.is_alive():  # not alive: in a forked child
                self._thread = threading.Thread(target=self._look, daemon=True, name="database-watchdog")
                self._thread.start()
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                del self._watched[id(cursor)]

    def _look(self) -> None:
        while True:
            with self._changed:
                while not self._watched:
                    self._changed.wait()
                self._interrupt()
            time.sleep(_LOOK_S)

    def _interrupt(self) -> None:
        for cursor, deadline in self._watched.values():  # names of their own: the thread must not keep a cursor alive
            if deadline.is_over:
                cursor.interrupt()


_watchdog = _Watchdog()
