"""One trace row by the run it belongs to: from a journal of its day, or from the table it was compacted to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from math import isnan
from pathlib import Path
from typing import Any

import duckdb
import orjson

from codeintel_core import schemas
from codeintel_core.home import Home
from codeintel_core.traces import journal, tables, versions


def days_of(home: Home, run_id: str) -> list[str]:
    """Days (YYYY-MM-DD) that have a row of the run, in order; looks at all of them, for when nothing names the day."""
    table = tables.traces(home)
    found = {
        day
        for day in journal.days(table.journals)
        if any(True for _ in _journaled(journal.files(table.journals, day), run_id))
    }
    if table.files():
        with closing(duckdb.connect()) as connection:
            source = "SELECT DISTINCT filename FROM read_parquet(?, filename = true) WHERE run_id = ?"
            files = connection.execute(source, [table.glob, run_id]).fetchall()
        found |= {Path(name).parent.name.removeprefix("date=") for (name,) in files}
    return sorted(found)


def find(home: Home, days: Iterable[str], run_id: str, otel_trace_id: str = "") -> dict[str, Any]:
    """The last row of a run on these days (YYYY-MM-DD, in order); {} when there is none.

    A run id may be used again: `otel_trace_id` names one request of it, '' the last.
    Columns are those of today's schema, values as journals hold them: NaN is None, times are ISO 8601.
    """
    table, found = tables.traces(home), dict[str, Any]()
    for day in days:
        rows = [
            row
            for row in (*_stored(table.path(day), run_id), *_journaled(journal.files(table.journals, day), run_id))
            if otel_trace_id in ("", row.get("otel_trace_id"))
        ]
        if rows:
            found = _as_journaled(versions.completed(rows[-1], schemas.ANSWER_TRACES))
    return found


def _journaled(files: Iterable[Path], run_id: str) -> Iterator[dict[str, Any]]:
    wanted = run_id.encode()
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                if wanted not in line:
                    continue
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError:
                    continue
                if row.get("run_id") == run_id:
                    yield row


def _stored(path: Path, run_id: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with closing(duckdb.connect()) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql("FROM read_parquet(?) WHERE run_id = ?", params=[str(path), run_id])
        rows: list[dict[str, Any]] = found.to_arrow_table().to_pylist()
    return rows


def _as_journaled(row: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a row that came from JSON or from a table."""
    at = row["asked_at"]
    return {
        **{name: None if isinstance(value, float) and isnan(value) else value for name, value in row.items()},
        "asked_at": at.isoformat() if isinstance(at, datetime) else at,
        "latency_ms": dict(row["latency_ms"]),
    }
