"""Delta Lake tables of chunks and traces, for whoever reads Delta: exports of what is stored elsewhere.

`delta/chunks/REPO` holds the served chunk table, `delta/answer_traces` all days. What was written last is kept in the
table itself, as the transaction ids that Delta has for writers who must not write twice: the same input is no new
version. Each version names where it came from in the metadata of its commit. `deltalake` is an optional extra.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.errors import CodeIntelError, NotIndexed, StorageFailed
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.traces import tables

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable

HOW = "pip install 'codeintel[delta]'"
_BATCH_ROWS = 20_000
_DAY = "day"
_SCHEMA = "codeintel/schema"
# Statistics are kept of these columns only: the log of a table need not quote texts, nor grow with them.
_CHUNK_STATISTICS = ("chunk_id", "path", "language", "symbol")
_TRACE_STATISTICS = ("trace_id", "run_id", "asked_at", "operation", "status")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export left behind.

    Attributes:
        version: version of the table now.
        rows: rows of the table now.
        files: Parquet files of this version.
        size_bytes: their size.
        written: the generation or the days that were written; empty when the table had them.
    """

    version: int
    rows: int
    files: int
    size_bytes: int
    written: list[str]


def is_there() -> bool:
    """Whether the extra is installed."""
    return find_spec("deltalake") is not None


def export_chunks(home: Home, repo: str, exported_by: str, *, keep_days: int) -> Exported:
    """Make `delta/chunks/REPO` the chunk table of the served generation; one version per generation.

    Raises:
        NotIndexed: nothing is published.
        StorageFailed: the table cannot be read or written.
    """
    gen_id = current_id(home.repository(repo))
    if gen_id is None:
        raise NotIndexed(f"'{repo}' has no generation to export; run `codeintel build {repo}`")
    folder, path = home.repository(repo).generation(gen_id), home.delta_chunks(repo)
    manifest = manifests.load(folder)
    with _described(path):
        done = {"codeintel/generation": _number(gen_id.encode())}
        if not _is_done(path, done):
            facts = {"gen_id": gen_id, "commit": manifest.commit, "dagster_run_id": manifest.dagster_run_id}
            rows = ds.dataset(folder / "chunks.parquet", format="parquet").scanner(batch_size=_BATCH_ROWS).to_reader()
            _overwrite(
                path, rows, _commit({**facts, "exported_by": exported_by}, done), keep_days, _CHUNK_STATISTICS,
                description=f"Chunks of the repository {repo}, one version per generation.",
            )  # fmt: skip
            return _state(path, [gen_id])
        return _state(path)


def export_traces(home: Home, exported_by: str, *, keep_days: int) -> Exported:
    """Make `delta/answer_traces`, partitioned by day, the daily tables: a version for each day that changed.

    The first export, and the first under a new schema, is one version with all days. Days without a row are deleted.

    Raises:
        StorageFailed: the table cannot be read or written.
    """
    table, path = tables.traces(home), home.delta_traces
    tables.upgrade(table)
    files = {file.parent.name.removeprefix("date="): file for file in table.files()}
    days = {day: file for day, file in files.items() if pq.read_metadata(file).num_rows}
    numbers = {day: _number(file.read_bytes()) for day, file in days.items()}
    facts = {"schema_version": str(schemas.TRACE_SCHEMA_VERSION), "exported_by": exported_by}
    with _described(path):
        known = {_SCHEMA: schemas.TRACE_SCHEMA_VERSION}
        if not _is_done(path, known):
            done = known | {_of_day(day): number for day, number in numbers.items()}
            _overwrite(
                path, _reader(days), _commit({**facts, "days": ",".join(days)}, done), keep_days, _TRACE_STATISTICS,
                by=[_DAY], description="One row per search and answer, partitioned by the day it was asked.",
            )  # fmt: skip
            return _state(path, list(days))
        opened = _open(path)
        changed = [day for day, number in numbers.items() if opened.transaction_version(_of_day(day)) != number]
        for day in changed:
            commit = _commit({**facts, "days": day}, {_of_day(day): numbers[day]})
            _replace_day(path, day, _reader({day: days[day]}), commit)
        gone = [day for day in _days(path) if day not in days]
        for day in gone:
            commit = _commit({**facts, "days": day}, {_of_day(day): 0})
            _open(path).delete(f"{_DAY} = '{day}'", commit_properties=commit)
        return _state(path, [*changed, *gone])


def found(home: Home) -> list[Path]:
    """Folders of all tables."""
    return sorted(log.parent for log in home.delta.rglob("_delta_log") if log.is_dir())


def vacuum(home: Home, *, keep_days: int, dry_run: bool = False) -> list[str]:
    """Remove files that only versions older than `keep_days` need, and their log; returns them, relative to the home.

    Without the extra nothing is removed.
    """
    if not is_there():
        return []
    removed = []
    for path in found(home):
        with _described(path):
            opened = _open(path)
            listed = opened.vacuum(keep_days * 24, enforce_retention_duration=False)
            old = [name for name in listed if (path / name).exists()]  # those of earlier vacuums stay in the log
            if old and not dry_run:  # a vacuum is a version of its own, also one that removes nothing
                opened.vacuum(keep_days * 24, dry_run=False, enforce_retention_duration=False)
                opened.create_checkpoint()  # without one, the log is all that says what the table is
                opened.cleanup_metadata()
        removed += [str(path.relative_to(home.root) / name) for name in old]
    return removed


def drop(home: Home, path: Path) -> None:
    """Remove the table that the file or folder `path` belongs to, all versions of it; the next export begins anew."""
    table = next((one for one in found(home) if path.is_relative_to(one)), path)
    shutil.rmtree(table) if table.is_dir() else table.unlink(missing_ok=True)


def _open(path: Path) -> DeltaTable:
    from deltalake import DeltaTable

    return DeltaTable(path)


def _of_day(day: str) -> str:
    return f"codeintel/{day}"


def _number(content: bytes) -> int:
    """63 bits that stand for a content; Delta's transaction versions are integers."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1


def _is_done(path: Path, numbers: Mapping[str, int]) -> bool:
    if not (path / "_delta_log").is_dir():
        return False
    opened = _open(path)
    return all(opened.transaction_version(name) == number for name, number in numbers.items())


def _commit(facts: Mapping[str, str], numbers: Mapping[str, int]) -> CommitProperties:
    from deltalake import CommitProperties, Transaction

    transactions = [Transaction(name, number) for name, number in numbers.items()]
    return CommitProperties(custom_metadata=dict(facts), app_transactions=transactions)


def _overwrite(
    path: Path, rows: pa.RecordBatchReader, commit: CommitProperties, keep_days: int, statistics: Sequence[str],
    *, description: str, by: list[str] | None = None,
) -> None:  # fmt: skip
    from deltalake import WriterProperties, write_deltalake

    kept = f"interval {keep_days} days"
    write_deltalake(
        path, rows, mode="overwrite", schema_mode="overwrite", partition_by=by, commit_properties=commit,
        description=description, writer_properties=WriterProperties(compression="ZSTD"),
        configuration={"delta.logRetentionDuration": kept, "delta.deletedFileRetentionDuration": kept,
                       "delta.dataSkippingStatsColumns": ",".join(statistics)},
    )  # fmt: skip


def _replace_day(path: Path, day: str, rows: pa.RecordBatchReader, commit: CommitProperties) -> None:
    from deltalake import WriterProperties, write_deltalake

    write_deltalake(
        path, rows, mode="overwrite", predicate=f"{_DAY} = '{day}'", commit_properties=commit,
        writer_properties=WriterProperties(compression="ZSTD"),
    )  # fmt: skip


def _reader(files: Mapping[str, Path]) -> pa.RecordBatchReader:
    """Rows of daily tables with the day as a last column."""
    schema = schemas.ANSWER_TRACES.append(pa.field(_DAY, pa.date32(), nullable=False))

    def batches() -> Iterator[pa.RecordBatch]:
        for day, file in files.items():
            with pq.ParquetFile(file) as source:
                for batch in source.iter_batches(_BATCH_ROWS):
                    days = pa.array([date.fromisoformat(day)] * batch.num_rows, pa.date32())
                    yield pa.RecordBatch.from_arrays([*batch.columns, days], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _days(path: Path) -> list[str]:
    return sorted({one[_DAY] for one in _open(path).partitions()})


def _state(path: Path, written: Sequence[str] = ()) -> Exported:
    opened = _open(path)
    files: list[dict[str, Any]] = pa.table(opened.get_add_actions(flatten=True)).to_pylist()
    rows, size = (sum(int(file[name]) for file in files) for name in ("num_records", "size_bytes"))
    return Exported(opened.version(), rows, len(files), size, list(written))


@contextmanager
def _described(path: Path) -> Iterator[None]:
    """Say of whatever the library raises which table it was about."""
    try:
        yield
    except CodeIntelError:
        raise
    except Exception as error:  # deltalake raises its own errors, OSError, and those of its engine as plain Exception
        said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]  # Rust's backtrace follows
        fix = "it is an export: remove its folder and run the export again"
        if os.strerror(errno.ENOSPC) in str(error):
            fix = "the disk is full: free space and run it again; versions before this one are whole"
        raise StorageFailed(
            f"the Delta table {path.parent.name}/{path.name} cannot be read or written ({said}); {fix}"
        ) from error
