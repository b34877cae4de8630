"""The trace journal: one append-only JSON-lines file per worker and day; a written line survives a killed process."""

from __future__ import annotations

import os
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import pyarrow as pa

from codeintel_core.schemas import ANSWER_TRACES
from codeintel_core.secrets import redact_values
from codeintel_core.telemetry import metrics
from codeintel_core.traces.record import MAY_BE_NAN, AnswerTrace

_ADDED = {
    "prompt_version": "", "tokens_in": 0, "tokens_out": 0, "time_to_first_token_ms": None, "tokens_per_second": None,
    "finish": "",
}  # fmt: skip
"""Columns that rows of an older version lack."""


class TraceJournal:
    """Writes rows under `traces/journal/date=YYYY-MM-DD/<worker>.jsonl`; failures are counted, never raised."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._day = ""
        self._file: BinaryIO | None = None
        self._is_torn = False

    def write(self, trace: AnswerTrace) -> bool:
        """Append one row, secrets masked, in one write call; False when it could not be stored."""
        try:
            line = orjson.dumps(redact_values(trace.as_row())) + b"\n"
            with self._lock:
                file = self._file_of(f"{trace.asked_at.astimezone(UTC):%Y-%m-%d}")
                if self._is_torn:
                    line = b"\n" + line
                if file.write(line) != len(line):
                    self._is_torn = True  # the disk is full; the next row must not continue this one
                    raise OSError("short write")
                self._is_torn = False
        except (OSError, ValueError, TypeError):
            metrics.TRACES_DROPPED.inc()
            return False
        return True

    def close(self) -> None:
        """Close the open file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file, self._day = None, ""

    def _file_of(self, day: str) -> BinaryIO:
        if self._file is None or self._day != day:
            if self._file is not None:
                self._file.close()
            path = self._folder / f"date={day}" / f"{self._worker}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file, self._day = path.open("ab", buffering=0), day
        return self._file


def days(folder: Path) -> list[str]:
    """Days (YYYY-MM-DD) that have journals, sorted."""
    return sorted(p.name.removeprefix("date=") for p in folder.glob("date=*") if p.is_dir())


def read_day(folder: Path, day: str) -> pa.Table:
    """All whole rows of a day from all workers, one per trace_id, sorted by time; torn lines are left out."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted((folder / f"date={day}").glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n"):
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            row["asked_at"] = datetime.fromisoformat(row["asked_at"])
            row = {**_ADDED, **row}
            row.update({name: float("nan") for name in MAY_BE_NAN if row[name] is None})
            row["latency_ms"] = list(row["latency_ms"].items())
            rows[row["trace_id"]] = row
    ordered = sorted(rows.values(), key=lambda row: (row["asked_at"], row["trace_id"]))
    return pa.Table.from_pylist(ordered, schema=ANSWER_TRACES)
