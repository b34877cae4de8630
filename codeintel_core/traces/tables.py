"""One Parquet table a day from journals of any age: every acknowledged row once, columns of today's schema.

DuckDB reads, joins and sorts, so that memory stays bounded however many rows a day has; a torn line is left out.
A journal may be removed once its day was compacted: what is stored already is part of what is written next.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.durable import fsync
from codeintel_core.home import Home
from codeintel_core.locks import locked
from codeintel_core.traces import journal, versions

_BATCH_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class DailyTable:
    """A kind of row: where it is journaled and stored, which column names a row, which one its time."""

    name: str
    schema: pa.Schema
    key: str
    time: str
    journals: Path
    daily: Path

    def path(self, day: str) -> Path:
        """The Parquet file of a day (YYYY-MM-DD)."""
        return self.daily / f"date={day}" / f"{self.name}.parquet"

    def files(self) -> list[Path]:
        """The files of all days, in order."""
        return sorted(self.daily.glob(f"date=*/{self.name}.parquet"))

    @property
    def lock(self) -> Path:
        """Held by who writes a file of this table."""
        return self.daily / ".lock"

    @property
    def glob(self) -> str:
        """Pattern of all days' files."""
        return str(self.daily / "*" / f"{self.name}.parquet")


def traces(home: Home) -> DailyTable:
    """The AnswerTrace rows of a home."""
    return DailyTable(
        "traces", schemas.ANSWER_TRACES, "trace_id", "asked_at", home.trace_journal, home.trace_daily
    )  # fmt: skip


def feedback(home: Home) -> DailyTable:
    """The feedback rows of a home."""
    return DailyTable(
        "feedback", schemas.FEEDBACK, "feedback_id", "given_at", home.feedback_journal, home.feedback_daily
    )  # fmt: skip


def every(home: Home) -> tuple[DailyTable, ...]:
    """Both."""
    return traces(home), feedback(home)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction of one day did.

    Attributes:
        rows: rows of the day's table now.
        journaled: distinct rows in the journals.
        stored: rows the table had before.
        lost: rows of a journal or of the table before that the new table lacks; anything but 0 is a defect.
        late: journaled rows that the table before, written after the day was over, did not have.
        misdated: rows whose time is not of this day (a journal that was moved by hand).
        torn: lines that are no row.
    """

    rows: int
    journaled: int
    stored: int
    lost: int
    late: int
    misdated: int
    torn: int


def compact(table: DailyTable, day: str) -> Compacted:
    """Write the day's table anew, replacing it at once; readers of the old file are not disturbed.

    One at a time, across processes: the command line may compact a day that a sensor's run is compacting.
    """
    target = table.path(day)
    target.parent.mkdir(parents=True, exist_ok=True)
    pending = target.with_suffix(".next")
    with locked(table.lock), closing(_connection(target.parent)) as connection:
        was_over = target.exists() and date.fromtimestamp(target.stat().st_mtime) > date.fromisoformat(day)
        _load(connection, table, journal.files(table.journals, day), target if target.exists() else None)
        _write(connection, table, pending)
        counts = _counts(connection, table, day, pending)
        _replace_durably(pending, target)
    return Compacted(late=counts["unseen"] if was_over else 0, **{k: v for k, v in counts.items() if k != "unseen"})


def _replace_durably(pending: Path, target: Path) -> None:
    """Rows of other machines may soon be nowhere else."""
    fsync(pending)
    pending.replace(target)
    fsync(target.parent)


def read_day(table: DailyTable, day: str) -> pa.Table:
    """All whole rows of a day's journals, one per key, sorted by time."""
    with closing(_connection(None)) as connection:
        _load(connection, table, journal.files(table.journals, day), None)
        return pa.Table.from_batches(_batches(connection, table), schema=table.schema)


def upgrade(table: DailyTable) -> list[str]:
    """Rewrite the days whose file has an older schema; returns them."""
    if not any(map(versions.is_old, table.files())):
        return []
    with locked(table.lock):
        old = [path for path in table.files() if versions.is_old(path)]
        for path in old:
            pending = path.with_suffix(".next")
            with (
                pq.ParquetFile(path) as source,
                pq.ParquetWriter(pending, versions.stamped(table.schema), compression="zstd") as to,
            ):
                for batch in source.iter_batches(_BATCH_ROWS):
                    to.write_batch(versions.conform(batch, table.schema))
            pending.replace(path)
    return [path.parent.name.removeprefix("date=") for path in old]


def remove_compacted(
    table: DailyTable, today: date, *, dry_run: bool = False, spared: Collection[Path] = ()
) -> int:  # fmt: skip
    """Remove journals of days before yesterday whose table is newer than they are, but for `spared`; says how many."""
    removed = 0
    for day in journal.days(table.journals):
        stored = table.path(day)
        if date.fromisoformat(day) >= today - timedelta(days=1) or not stored.exists():
            continue
        for path in journal.files(table.journals, day):
            if path not in spared and path.stat().st_mtime < stored.stat().st_mtime:
                removed += 1
                if not dry_run:
                    path.unlink()
    return removed


def expire(table: DailyTable, before: date, *, dry_run: bool = False) -> list[str]:
    """Drop the rows of days before `before`, journaled and stored; returns the days.

    The file becomes an empty table at once, so that a query which has just listed it still finds it; the next call
    removes it.
    """
    if dry_run:
        return _expire(table, before, dry_run=True)
    with locked(table.lock):
        return _expire(table, before, dry_run=False)


def _expire(table: DailyTable, before: date, *, dry_run: bool) -> list[str]:
    expired = []
    for path in table.files():
        day = path.parent.name.removeprefix("date=")
        if date.fromisoformat(day) >= before or day == EMPTY_DAY:
            continue
        is_empty = pq.read_metadata(path).num_rows == 0
        if not is_empty:
            expired.append(day)
        if dry_run:
            continue
        for left in journal.files(table.journals, day):
            left.unlink()
        if is_empty:
            path.unlink()
        else:
            write_empty(table, day)
    return expired


EMPTY_DAY = "1970-01-01"
"""An empty table of this day is always there: a pattern without a file is an error in DuckDB."""


def write_empty(table: DailyTable, day: str = EMPTY_DAY) -> None:
    """Write an empty table of a day."""
    path = table.path(day)
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_suffix(".next")
    pq.write_table(versions.stamped(table.schema).empty_table(), pending)
    pending.replace(path)


def _connection(spill: Path | None) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    if spill is not None:
        connection.execute("SET temp_directory = ?", [str(spill / ".spill")])
        connection.execute("SET memory_limit = '1GB'")
    return connection


def _load(
    connection: duckdb.DuckDBPyConnection, table: DailyTable, journals: Sequence[Path], stored: Path | None
) -> None:
    """Create `journaled` (torn lines are rows without a key), `stored` and `merged`."""
    columns = {field.name: versions.journaled_type(field) for field in table.schema}
    listed = ", ".join(f"{versions.quoted(name)}: {_text(kind)}" for name, kind in columns.items())
    filled = ", ".join(versions.filled(field) for field in table.schema)
    if journals:
        source = (
            f"read_json([{', '.join(_text(str(path)) for path in journals)}], format = 'newline_delimited', "
            f"ignore_errors = true, maximum_object_size = 67108864, columns = {{{listed}}})"
        )
    else:
        source = (
            "(SELECT " + ", ".join(f"NULL::{kind} AS {versions.quoted(name)}" for name, kind in columns.items()) + ")"
        )
        source += " WHERE false"
    connection.execute(f"CREATE TEMP TABLE journaled AS SELECT {filled} FROM {source}")  # parsed once
    if stored is None:
        connection.execute("CREATE VIEW stored AS FROM journaled WHERE false")
    elif versions.is_old(stored):
        old = pq.read_table(stored)
        batches = [versions.conform(batch, table.schema) for batch in old.to_batches()]
        connection.register("upgraded", pa.Table.from_batches(batches, schema=table.schema))
        connection.execute("CREATE VIEW stored AS FROM upgraded")
    else:
        connection.execute(f"CREATE VIEW stored AS FROM read_parquet({_text(str(stored))})")
    # Stored rows win over journaled ones, which makes a second compaction write the same bytes; and keys are compared
    # before rows are moved, because a row is a hundred times as wide as its key.
    key = table.key
    connection.execute(
        f"""CREATE TEMP TABLE new_rows AS
            SELECT min(rowid) AS row FROM journaled ANTI JOIN (SELECT {key} FROM stored) USING ({key})
            WHERE {key} IS NOT NULL AND {table.time} IS NOT NULL GROUP BY {key}"""
    )
    connection.execute(
        """CREATE VIEW merged AS
           SELECT * FROM stored UNION ALL BY NAME
           SELECT * FROM journaled WHERE rowid IN (SELECT row FROM new_rows)"""
    )


def _batches(connection: duckdb.DuckDBPyConnection, table: DailyTable) -> Iterator[pa.RecordBatch]:
    names = ", ".join(versions.quoted(name) for name in table.schema.names)
    query = f"SELECT {names} FROM merged ORDER BY {table.time}, {table.key}"
    for batch in connection.sql(query).to_arrow_reader(_BATCH_ROWS):
        yield typed(batch, table.schema)


def typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch of DuckDB with exactly the types and documentation of `schema`; columns in its order."""
    columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def writer(path: Path, table: DailyTable) -> pq.ParquetWriter:
    """A writer of the day's file `path`."""
    return pq.ParquetWriter(path, versions.stamped(table.schema), compression="zstd")


def _write(connection: duckdb.DuckDBPyConnection, table: DailyTable, path: Path) -> None:
    with writer(path, table) as to:
        for batch in _batches(connection, table):
            to.write_batch(batch)


def _counts(connection: duckdb.DuckDBPyConnection, table: DailyTable, day: str, written: Path) -> dict[str, int]:
    key = table.key
    found = connection.execute(
        f"""WITH written AS (SELECT {key}, {table.time} FROM read_parquet(?)),
                 old AS (SELECT {key} FROM stored),
                 new AS (SELECT DISTINCT {key} FROM journaled WHERE {key} IS NOT NULL AND {table.time} IS NOT NULL)
            SELECT (SELECT count(*) FROM written),
                   (SELECT count(*) FROM new),
                   (SELECT count(*) FROM old),
                   (SELECT count(*) FROM (FROM old UNION FROM new) ANTI JOIN written USING ({key})),
                   (SELECT count(*) FROM new ANTI JOIN old USING ({key})),
                   (SELECT count(*) FROM written WHERE {table.time}::DATE <> ?::DATE),
                   (SELECT count(*) FROM journaled WHERE {key} IS NULL OR {table.time} IS NULL)""",
        [str(written), day],
    ).fetchone()
    names = ("rows", "journaled", "stored", "lost", "unseen", "misdated", "torn")
    return dict(zip(names, map(int, found or ()), strict=True))


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
