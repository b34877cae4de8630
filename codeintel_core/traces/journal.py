"""Journals: append-only JSON-lines files, one per worker and day; a written line survives a killed process."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import orjson

from codeintel_core.secrets import redacted_json
from codeintel_core.telemetry import metrics

_MAX_BYTES = 64 << 20


class Journal:
    """Writes rows under `<folder>/date=YYYY-MM-DD/<worker>-<number>.jsonl`; failures are counted, never raised.

    A file that has reached `max_bytes` is followed by the next number.
    """

    def __init__(self, folder: Path, *, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._worker = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._lock = threading.Lock()
        self._day, self._number, self._written = "", 0, 0
        self._file: BinaryIO | None = None
        self._is_torn = False

    def append(self, at: datetime, row: Mapping[str, Any], clean: Mapping[str, Any] = MappingProxyType({})) -> bool:
        """Append one row, secrets masked, to the day of `at` in one write call; False when it could not be stored.

        `clean`: further fields of the row (see `redacted_json`).
        """
        try:
            line = redacted_json(row, orjson.OPT_APPEND_NEWLINE, clean)
            with self._lock:
                file = self._file_of(at.astimezone(UTC).date().isoformat())
                if self._is_torn:
                    line = b"\n" + line
                if file.write(line) != len(line):
                    self._is_torn = True  # the disk is full; the next row must not continue this one
                    raise OSError("short write")
                self._is_torn = False
                self._written += len(line)
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
        if self._file is None or self._day != day or self._written >= self._max_bytes:
            if self._file is not None:
                self._file.close()
            self._number = self._number + 1 if self._day == day else 0
            path = self._folder / f"date={day}" / f"{self._worker}-{self._number}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file, self._day, self._written = path.open("ab", buffering=0), day, 0
            self._is_torn = False
        return self._file


def days(folder: Path) -> list[str]:
    """Days (YYYY-MM-DD) that have journals, sorted."""
    return sorted(p.name.removeprefix("date=") for p in folder.glob("date=*") if p.is_dir())


def files(folder: Path, day: str) -> list[Path]:
    """Journals of a day, from all workers."""
    return sorted((folder / f"date={day}").glob("*.jsonl"))
