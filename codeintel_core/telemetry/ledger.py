"""The step ledger: append-only JSON lines, one file per run, flushed per line; never breaks a request."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from codeintel_core.secrets import redact_values
from codeintel_core.telemetry import metrics


class Ledger:
    """Writer of one run's ledger file under `ledger/date=YYYY-MM-DD/<run_id>.jsonl`."""

    def __init__(self, folder: Path, run_id: str, *, is_lazy: bool = False) -> None:
        """`is_lazy`: make the file with the first line."""
        self.path = folder / f"date={datetime.now(UTC):%Y-%m-%d}" / f"{run_id}.jsonl"
        self._file: BinaryIO | None = None
        self._is_torn = False
        self._is_waiting = is_lazy
        if not is_lazy:
            self._open()

    def _open(self) -> None:
        self._is_waiting = False
        try:
            try:
                self._file = self.path.open("ab", buffering=0)
            except FileNotFoundError:  # the first run of the day
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)
        except OSError:
            metrics.TELEMETRY_ERRORS.inc()

    def write(self, line: dict[str, Any]) -> None:
        """Append one line, secrets masked; one write call, so that lines of threads do not mix."""
        if self._is_waiting:
            self._open()
        file = self._file
        if file is None:
            return
        try:
            data = orjson.dumps(redact_values(line), option=orjson.OPT_NON_STR_KEYS, default=str) + b"\n"
            if self._is_torn:
                data = b"\n" + data
            if file.write(data) != len(data):
                self._is_torn = True  # the disk is full; the next line must not continue this one
                raise OSError("short write")
            self._is_torn = False
        except (OSError, ValueError, TypeError):
            metrics.TELEMETRY_ERRORS.inc()

    def close(self) -> None:
        """Close the file; further lines are dropped."""
        self._is_waiting = False
        if self._file is not None:
            self._file.close()
            self._file = None


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
