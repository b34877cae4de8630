"""The step ledger: append-only JSON lines, one file per run, one write per line; never breaks a request.

What is written survives a killed process: it is the kernel's. Texts in lines are redacted before they get here.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from codeintel_core.telemetry import metrics, redaction

if TYPE_CHECKING:
    from codeintel_core.telemetry.runs import StepRecord

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE


class Ledger:
    """Writer of one run's ledger file under `ledger/date=YYYY-MM-DD/<run_id>.jsonl`; the first line makes the file."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder = f"{folder}/date={datetime.now(UTC).date().isoformat()}"
        self._name = f"{self._folder}/{run_id}.jsonl"
        self._file: FileIO | None = None
        self._is_torn = False
        self._is_open = True

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._name)

    def append(self, lines: bytes) -> None:
        """Append whole lines in one write call, so that those of threads do not mix."""
        file = self._file or self._made()
        if file is None:
            return
        data = b"\n" + lines if self._is_torn else lines
        try:
            if file.write(data) != len(data):
                self._is_torn = True  # the disk is full; the next line must not continue this one
                raise OSError("short write")
            self._is_torn = False
        except (OSError, ValueError):
            metrics.TELEMETRY_ERRORS.inc()

    def close(self) -> None:
        """Close the file; further lines are dropped."""
        self._is_open = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def _made(self) -> FileIO | None:
        if not self._is_open:
            return None
        try:
            try:
                self._file = FileIO(self._name, "ab")
            except FileNotFoundError:  # the first run of the day
                os.makedirs(self._folder, exist_ok=True)
                self._file = FileIO(self._name, "ab")
        except OSError:
            self._is_open = False
            metrics.TELEMETRY_ERRORS.inc()
        return self._file


def head(
    run_id: str, section: str, operation: str, trace_id: str, session_id: str, caller: str, started_at: datetime
) -> bytes:
    """The first line of a run."""
    row = {
        "run_id": run_id, "section": section, "ms": 0.0, "event": "run", "operation": operation, "trace_id": trace_id,
        "session_id": redaction.masked(session_id), "at": started_at.isoformat(), "caller": redaction.masked(caller),
    }  # fmt: skip
    return _json(row, "session_id")


def begin(run_id: str, section: str, ms: float, kind: str, span_id: str) -> bytes:
    """The line of a step that starts. Half of all lines: put together by hand, since nothing in it needs quoting."""
    return (
        f'{{"run_id":"{run_id}","section":"{section}","ms":{ms:.3f},"event":"begin","kind":"{kind}",'
        f'"span_id":"{span_id}"}}\n'
    ).encode()


def end(run_id: str, section: str, record: StepRecord) -> bytes:
    """The line of a step that ended."""
    kind, status, reason, start_ms, duration_ms, attributes, span_id, parent_id, detail = record
    row = {
        "run_id": run_id, "section": section, "ms": start_ms + duration_ms, "event": "end", "kind": kind,
        "span_id": span_id, "parent_id": parent_id, "status": status.value, "reason": reason, "detail": detail,
        "start_ms": start_ms, "duration_ms": duration_ms, "attributes": attributes,
    }  # fmt: skip
    return _json(row, "attributes")


def done(run_id: str, section: str, ms: float, status: str) -> bytes:
    """The last line of a run."""
    return _json({"run_id": run_id, "section": section, "ms": ms, "event": "done", "status": status})


def _json(row: dict[str, Any], foreign: str = "") -> bytes:
    """A line; without its field of foreign values when that cannot be written, for a missing line means something."""
    try:
        return orjson.dumps(row, str, _OPTIONS)
    except TypeError:
        metrics.TELEMETRY_ERRORS.inc()
        return orjson.dumps({key: value for key, value in row.items() if key != foreign}, str, _OPTIONS)


def find(folder: Path, run_id: str) -> list[Path]:
    """Files of a run, oldest day first; a run that passes midnight has two. `run_id` must be a canonical UUID."""
    return sorted(folder.glob(f"date=*/{run_id}.jsonl"))


def newest(folder: Path, count: int) -> list[Path]:
    """The files written last, the last one first; looks at the newest days only."""
    found: list[tuple[float, Path]] = []
    for day in sorted(folder.glob("date=*"), reverse=True):
        with os.scandir(day) as entries:
            found += [(entry.stat().st_mtime, Path(entry.path)) for entry in entries if entry.name.endswith(".jsonl")]
        if len(found) >= count:
            break
    return [path for _, path in sorted(found, reverse=True)[:count]]


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines of a ledger file; a torn last line is left out."""
    lines: list[dict[str, Any]] = []
    for raw in path.read_bytes().split(b"\n"):
        try:
            line = orjson.loads(raw)
        except orjson.JSONDecodeError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines
