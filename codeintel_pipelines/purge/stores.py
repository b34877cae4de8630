"""Every kind of file in a home: how to look for a needle in all of its bytes, and how to take it out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_pipelines.purge.needle import Needle

_SQLITE = b"SQLite format 3\0"
_BATCH_ROWS = 5_000


def occurrences(path: Path, needle: Needle) -> int:
    """How often the needle stands in a file: in its raw bytes, and in what they decode to."""
    if path.suffix == ".parquet":
        return len(needle.spans(path.read_bytes())) + sum(_in_table(table, needle) for table in _batches(path))
    if path.suffix == ".duckdb":
        return _in_duckdb(path, needle)
    data = path.read_bytes()
    found = len(needle.spans(data))
    return found + _in_sqlite(path, needle) if data.startswith(_SQLITE) else found


def scrub(path: Path, needle: Needle) -> None:
    """Mask the needle in a file that is kept: traces, ledgers, logs, Dagster's storage.

    Other files are overwritten in place, byte for byte, since a writer may have them open for appending.
    """
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        rows = _walk(table.to_pylist(), needle)
        pending = path.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), pending, compression="zstd")
        pending.replace(path)
    elif path.open("rb").read(len(_SQLITE)) == _SQLITE:
        _scrub_sqlite(path, needle)
    else:
        with path.open("r+b") as file:
            data = file.read()
            for start, end in needle.spans(data):
                file.seek(start)
                file.write(needle.mask(data[start:end]))


def _batches(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        names = [field.name for field in file.schema_arrow if not _is_numeric(field.type)]
        for batch in file.iter_batches(_BATCH_ROWS, columns=names):
            yield pa.Table.from_batches([batch])


def _is_numeric(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return not (pa.types.is_nested(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
                or pa.types.is_binary(kind))  # fmt: skip


def _in_table(table: pa.Table, needle: Needle) -> int:
    return sum(len(needle.spans(_bytes(value))) for value in _strings(table.to_pylist()))


def _in_duckdb(path: Path, needle: Needle) -> int:
    found = len(needle.spans(path.read_bytes()))
    # The same configuration as a catalog has: one process opens a file only in one way.
    with duckdb.connect(str(path), read_only=True, config={"threads": "1"}) as db:
        names = [row[0] for row in db.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        for name in names:
            reader = db.sql(f'SELECT * FROM "{name}"').to_arrow_table()  # noqa: S608 (its own table names)
            found += sum(_in_table(part, needle) for part in _parts(reader))
    return found


def _parts(table: pa.Table) -> Iterator[pa.Table]:
    for start in range(0, table.num_rows, _BATCH_ROWS):
        yield table.slice(start, _BATCH_ROWS)


def _in_sqlite(path: Path, needle: Needle) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return sum(
            len(needle.spans(_bytes(value)))
            for table in _tables(db)
            for row in db.execute(f'SELECT * FROM "{table}"')  # noqa: S608 (its own table names)
            for value in row
            if isinstance(value, str | bytes)
        )


def _scrub_sqlite(path: Path, needle: Needle) -> None:
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=ON")
        db.create_function("scrubbed", 1, needle.mask_text, deterministic=True)
        for table in _tables(db):
            for column in [row[1] for row in db.execute(f'PRAGMA table_info("{table}")')]:
                db.execute(
                    f'UPDATE "{table}" SET "{column}" = scrubbed("{column}") '  # noqa: S608 (its own names)
                    f'WHERE typeof("{column}") = \'text\' AND scrubbed("{column}") <> "{column}"'
                )
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _tables(db: sqlite3.Connection) -> list[str]:
    return [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]


def _strings(value: Any) -> Iterator[str | bytes]:
    if isinstance(value, str | bytes):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _walk(value: Any, needle: Needle) -> Any:
    if isinstance(value, str):
        return needle.mask_text(value)
    if isinstance(value, dict):
        return {key: _walk(item, needle) for key, item in value.items()}
    if isinstance(value, list):
        return [_walk(item, needle) for item in value]
    return tuple(_walk(item, needle) for item in value) if isinstance(value, tuple) else value


def _bytes(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
