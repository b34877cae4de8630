"""Vectors by content: a text is encoded once per contract, whatever repository, commit, branch or path it is in.

One SQLite file per contract. A row carries its CRC-32, and a row that does not match counts as missing: it is
computed again and overwritten. Losing the file costs time, never correctness.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from codeintel_core.embedding.contract import Contract, EmbeddingContract, Matrix
from codeintel_core.errors import ContractMismatch, StorageFailed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, crc32 INTEGER NOT NULL);
"""
_BUSY_TIMEOUT_S = 60.0
_TURN_AGAIN_S = 0.005
_KEYS_PER_SELECT = 500


class ContentCache:
    """The cache of one contract: bytes by `identity.text_key`; one instance per thread, any number of processes."""

    def __init__(self, folder: Path, contract: Contract) -> None:
        """Open or create `folder`/vectors.sqlite (`folder` = `Home.vectors(contract.contract_id)`).

        Raises:
            ContractMismatch: the file holds vectors of another contract.
            StorageFailed: the file cannot be opened, or is not such a cache.
        """
        self.path = folder / "vectors.sqlite"
        self._contract = contract
        with self._translated():
            folder.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        try:
            with self._translated():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA page_size=8192")  # five rows of 384 floats fill one; the default wastes a quarter
        self._turn_to_wal()
        self._db.execute("PRAGMA synchronous=NORMAL")
        wanted = json.dumps(self._contract.fields, sort_keys=True)
        with self._transaction():
            for statement in _SCHEMA.strip().splitlines():
                self._db.execute(statement)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('contract', ?)", (wanted,))
            (found,) = self._db.execute("SELECT value FROM meta WHERE name = 'contract'").fetchone()
        if found != wanted:
            with suppress(TypeError, ValueError):  # written by a version with other fields
                self._contract.require_same(type(self._contract)(**json.loads(found)), str(self.path))
            raise ContractMismatch(f"{self.path}: unreadable contract; delete the folder {self.path.parent}")

    def _turn_to_wal(self) -> None:
        """Of several that turn a new file at once SQLite refuses some without waiting, whatever the timeout."""
        until = time.monotonic() + _BUSY_TIMEOUT_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(_TURN_AGAIN_S)

    def rows(self, keys: Sequence[str]) -> tuple[dict[str, bytes], int]:
        """The sound rows among `keys`, and how many were found but did not match their checksum.

        Raises:
            StorageFailed: the file cannot be read.
        """
        found: dict[str, bytes] = {}
        damaged = 0
        with self._translated():
            for some, marks in _selects(keys):
                query = f"SELECT key, vector, crc32 FROM vectors WHERE key IN ({marks})"  # noqa: S608 (only marks)
                for key, vector, crc32 in self._db.execute(query, some):
                    if zlib.crc32(vector, zlib.crc32(key)) == crc32:
                        found[key.hex()] = vector
                    else:
                        damaged += 1
        return found, damaged

    def known(self, keys: Sequence[str]) -> set[str]:
        """Those of `keys` that have a row, sound or not: for a decision, at a fraction of reading them.

        Raises:
            StorageFailed: the file cannot be read.
        """
        found: set[str] = set()
        with self._translated():
            for some, marks in _selects(keys):
                query = f"SELECT key FROM vectors WHERE key IN ({marks})"  # noqa: S608 (only marks)
                found.update(key.hex() for (key,) in self._db.execute(query, some))
        return found

    def put_rows(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Store (key, bytes) rows: all or none; existing ones are overwritten.

        Raises:
            StorageFailed: the file cannot be written.
        """
        values = []
        for key, data in rows:
            name = bytes.fromhex(key)
            values.append((name, data, zlib.crc32(data, zlib.crc32(name))))
        with self._translated(), self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", values)

    def delete_many(self, keys: Sequence[str]) -> int:
        """Forget the vectors of `keys` and overwrite where they were; returns how many there were.

        Raises:
            StorageFailed: the file cannot be written.
        """
        with self._translated():
            self._db.execute("PRAGMA secure_delete=ON")
            with self._transaction():
                names = [(bytes.fromhex(key),) for key in dict.fromkeys(keys)]
                count = self._db.executemany("DELETE FROM vectors WHERE key = ?", names).rowcount
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return count

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")  # waits for other writers here, not halfway
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(
                f"vector cache {self.path}: {error}; free space, fix its rights, or delete the folder "
                "(it is a cache: the next build fills it again)"
            ) from error


def _selects(keys: Sequence[str]) -> Iterator[tuple[list[bytes], str]]:
    """The distinct keys in portions that one SELECT takes, with a mark for each."""
    wanted = [bytes.fromhex(key) for key in dict.fromkeys(keys)]
    for start in range(0, len(wanted), _KEYS_PER_SELECT):
        some = wanted[start : start + _KEYS_PER_SELECT]
        yield some, ",".join("?" * len(some))


@dataclass(frozen=True, slots=True)
class Lookup:
    """Answer of `VectorCache.get_many` for n keys."""

    matrix: Matrix
    """(n, dimension) float32; rows that are not present are zero."""
    present: NDArray[np.bool_]
    """(n,): whether the key had a sound row."""
    damaged: int
    """Rows that were found but did not match their checksum."""


class VectorCache(ContentCache):
    """The dense vectors of one embedding contract."""

    def __init__(self, folder: Path, contract: EmbeddingContract) -> None:
        """As `ContentCache`."""
        super().__init__(folder, contract)
        self.contract = contract

    def get_many(self, keys: Sequence[str]) -> Lookup:
        """Look up `keys` (from `identity.text_key`), in their order.

        Raises:
            StorageFailed: the file cannot be read.
        """
        dimension = self.contract.dimension
        matrix = np.zeros((len(keys), dimension), np.float32)
        present = np.zeros(len(keys), np.bool_)
        rows, damaged = self.rows(keys)
        whole = {key: data for key, data in rows.items() if len(data) == 4 * dimension}
        for position, key in enumerate(keys):
            if (data := whole.get(key)) is not None:
                matrix[position] = np.frombuffer(data, np.float32)
                present[position] = True
        return Lookup(matrix, present, damaged + len(rows) - len(whole))

    def put_many(self, keys: Sequence[str], matrix: Matrix) -> None:
        """Store row i of `matrix` (len(keys), dimension) under key i: all or none; existing rows are overwritten.

        Raises:
            ContractMismatch: `matrix` has another shape.
            StorageFailed: the file cannot be written.
        """
        if matrix.shape != (len(keys), self.contract.dimension):
            raise ContractMismatch(f"{self.path}: {matrix.shape} vectors for {len(keys)} keys of this contract")
        self.put_rows(
            [
                (key, vector.tobytes())
                for key, vector in zip(keys, np.ascontiguousarray(matrix, np.float32), strict=True)
            ]
        )
