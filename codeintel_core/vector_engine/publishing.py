"""Publishing into PostgreSQL: in one transaction the rows that went are closed, those that came are copied, and the
state of what is there then is compared with what it must be.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from codeintel_core.errors import VectorEngineUnavailable
from codeintel_core.vector_engine.protocol import Change, Keys, Pin, Published, State
from codeintel_core.vector_engine.tables import OPEN, composed, is_set_up, set_up

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

Whole = Callable[[], Iterator[pa.Table]]
_OPEN_KEYS = "SELECT key FROM {table} WHERE repo_id = %s AND until = %s"
_CLOSE = "UPDATE {table} SET until = %s WHERE repo_id = %s AND until = %s AND key = ANY(%s)"
_COPY = (
    "COPY {table} (repo_id, chunk_id, key, first, until, path, language, file_class, embedding) "
    "FROM STDIN (FORMAT BINARY)"
)
_COPIED = ("int4", "int8", "int8", "int8", "int8", "text", "text", "text", "bytea")  # bytes are copied as they are
_STATE = "SELECT count(*), bit_xor(key) FROM {table} WHERE repo_id = %s AND first <= %s AND until > %s"
_UNSEEN = """
DELETE FROM {table} AS row WHERE repo_id = %s AND NOT EXISTS (
    SELECT FROM codeintel_generations AS kept
    WHERE kept.repo_id = row.repo_id AND row.first <= kept.number AND kept.number < row.until)
"""
_NEAREST = "CREATE INDEX IF NOT EXISTS {nearest} ON {table} USING hnsw (embedding halfvec_ip_ops)"


def publish(
    connection: Connection[Any], pin: Pin, parent: str | None, change: Change | None, whole: Whole, exact_max: int
) -> Published:  # fmt: skip
    """As `VectorEngine.publish`; a table of more than `exact_max` rows gets an index."""
    with connection.transaction():
        set_up(connection, pin.contract)
    with connection.transaction():
        repo_id, newest = _locked(connection, pin)
        known = connection.execute(
            "SELECT repo_id, vectors, digest FROM codeintel_generations WHERE gen_id = %s", [pin.gen_id]
        ).fetchone()
        if known is not None:
            if (known[0], State(known[1], known[2])) != (repo_id, pin.state):
                raise VectorEngineUnavailable(f"the vector engine holds another generation {pin.gen_id}")
            return Published(0, 0)
        into = _Into(connection, pin, repo_id)
        done = into.changed(change, newest) if change is not None and newest == parent else None
        done = done or into.compared(whole)
        connection.execute("UPDATE codeintel_repositories SET newest = %s WHERE repo_id = %s", [pin.gen_id, repo_id])
    with connection.transaction():  # without a lock that another publisher, who wants the same, could wait for
        _index(connection, pin, exact_max)
    return done


def state(connection: Connection[Any], contract_id: str, repo_id: int, number: int) -> State:
    """What the rows of a generation are, counted and added up anew."""
    row = connection.execute(composed(_STATE, contract_id), [repo_id, number, number]).fetchone()
    assert row is not None
    return State.read(*row)


def delete(connection: Connection[Any], repo: str, gen_ids: Collection[str], *, thoroughly: bool) -> int:
    """As `VectorEngine.delete`."""
    deleted, touched = 0, set[str]()
    with connection.transaction():
        if not is_set_up(connection):
            return 0
        repositories = connection.execute(
            "SELECT repo_id, contract_id FROM codeintel_repositories WHERE name = %s ORDER BY repo_id FOR UPDATE",
            [repo],
        ).fetchall()
        for repo_id, contract_id in repositories:
            gone = connection.execute(
                "DELETE FROM codeintel_generations WHERE repo_id = %s AND gen_id = ANY(%s)", [repo_id, list(gen_ids)]
            ).rowcount
            if gone or thoroughly:
                deleted += connection.execute(composed(_UNSEEN, contract_id), [repo_id]).rowcount
                touched.add(contract_id)
    if thoroughly:
        for contract_id in sorted(touched):
            connection.execute(composed("VACUUM {table}", contract_id))
    return deleted


class _Into:
    """A generation that is being written, in the transaction that is open."""

    def __init__(self, connection: Connection[Any], pin: Pin, repo_id: int) -> None:
        self._connection, self._pin, self._repo_id = connection, pin, repo_id
        row = connection.execute(
            "INSERT INTO codeintel_generations (repo_id, gen_id, vectors, digest) VALUES (%s, %s, %s, %s) "
            "RETURNING number",
            [repo_id, pin.gen_id, pin.state.count, pin.state.digest],
        ).fetchone()
        assert row is not None
        self._number: int = row[0]

    def changed(self, change: Change, newest: str) -> Published | None:
        """Write a difference to the newest generation; None when that does not lead to the pinned state."""
        before = self._connection.execute(
            "SELECT vectors, digest FROM codeintel_generations WHERE gen_id = %s AND repo_id = %s",
            [newest, self._repo_id],
        ).fetchone()
        added = change.added_keys
        if before is None or State(*before).changed(added, change.removed) != self._pin.state:
            return None
        if self._close(change.removed) != len(change.removed):
            return None
        self._copy(change.added)
        return Published(len(added), len(change.removed))

    def compared(self, whole: Whole) -> Published:
        """Write what makes the open rows those of the whole; raises when they are not of the pinned state then."""
        rows = self._connection.execute(self._composed(_OPEN_KEYS), [self._repo_id, OPEN]).fetchall()
        there: Keys = np.array([key for (key,) in rows], np.int64)
        wanted: list[Keys] = []

        def lacking() -> Iterator[pa.Table]:
            for part in whole():
                wanted.append(part["key"].to_numpy())
                yield part.filter(pa.array(~np.isin(wanted[-1], there)))

        added = self._copy(lacking())
        gone = np.setdiff1d(there, np.concatenate(wanted)) if wanted else there
        self._close(gone)
        found = state(self._connection, self._pin.contract.contract_id, self._repo_id, self._number)
        if found != self._pin.state:
            raise VectorEngineUnavailable(
                f"the vector engine would hold {found.count} rows ({found.digest}) of {self._pin.gen_id}, "
                f"not {self._pin.state.count} ({self._pin.state.digest})"
            )
        return Published(added, len(gone))

    def _close(self, keys: Keys) -> int:
        return self._connection.execute(
            self._composed(_CLOSE), [self._number, self._repo_id, OPEN, keys.tolist()]
        ).rowcount

    def _copy(self, tables: Iterable[pa.Table]) -> int:
        copied = 0
        with self._connection.cursor() as cursor, cursor.copy(self._composed(_COPY)) as copy:
            copy.set_types(_COPIED)
            for table in tables:
                columns = [table[name].to_pylist() for name in ("chunk_id", "key")]
                texts = [table[name].to_pylist() for name in ("path", "language", "file_class")]
                for chunk_id, key, path, language, file_class, vector in zip(
                    *columns, *texts, _halves(table), strict=True
                ):
                    copy.write_row(
                        (self._repo_id, chunk_id, key, self._number, OPEN, path, language, file_class, vector)
                    )
                copied += table.num_rows
        return copied

    def _composed(self, statement: str) -> Composed:
        return composed(statement, self._pin.contract.contract_id)


def _halves(table: pa.Table) -> Iterator[bytes]:
    """The vectors as PostgreSQL's binary format has a halfvec: dimension, a reserved word, IEEE halves, big-endian."""
    column = table["vector"].combine_chunks()
    dimension = column.type.list_size
    flat = column.flatten().to_numpy(zero_copy_only=False).astype(">f2").reshape(-1, dimension)
    head = struct.pack(">HH", dimension, 0)
    return (head + vector.tobytes() for vector in flat)


def _locked(connection: Connection[Any], pin: Pin) -> tuple[int, str]:
    """Number and newest generation of a repository, which nobody else writes until the transaction ends."""
    named = [pin.repo, pin.contract.contract_id]
    find = "SELECT repo_id, newest FROM codeintel_repositories WHERE name = %s AND contract_id = %s FOR UPDATE"
    row = connection.execute(find, named).fetchone()
    if row is None:  # every attempt to insert takes a number, and a search sends as many as the largest says
        connection.execute(
            "INSERT INTO codeintel_repositories (name, contract_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", named
        )
        row = connection.execute(find, named).fetchone()
    assert row is not None
    return row[0], row[1]


def _index(connection: Connection[Any], pin: Pin, exact_max: int) -> None:
    contract_id = pin.contract.contract_id
    row = connection.execute(
        composed("SELECT to_regclass({nearest_name}) IS NULL AND (SELECT count(*) FROM {table}) > %s", contract_id),
        [exact_max],
    ).fetchone()
    if row is not None and row[0]:
        connection.execute(composed(_NEAREST, contract_id))
