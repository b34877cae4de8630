"""The step ledger: append-only JSON lines, one file per run; never breaks a request.

While a run goes on its lines are in a page (`pages`), from its end on in a file of its own (`filing`). Lines that find
no page go to the file at once, one write per line. Either way what is appended survives a killed process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import orjson

from codeintel_core.telemetry import filing, metrics, pages
from codeintel_core.telemetry.pages import Page


class Ledger:
    """Writer of one run's lines, those of `ledger/date=YYYY-MM-DD/<run_id>.jsonl`; the first one opens it."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self._folder = folder
        self._name = f"date={datetime.now(UTC).date().isoformat()}/{run_id}.jsonl"
        self._lock = threading.Lock()
        self._page: Page | None = None
        self._file: FileIO | None = None
        self._is_torn = False
        self._is_open = True

    @property
    def path(self) -> Path:
        """The file; when the run has ended it is there, or soon."""
        return self._folder / self._name

    def append(self, lines: bytes) -> None:
        """Append whole lines together, so that those of threads do not mix."""
        with self._lock:
            page = self._page
            if page is None and self._file is None:
                if not self._is_open:
                    return
                page = self._page = filing.take(self._folder, self._name)
            if page is None:
                self._write(lines)
            elif not page.append(lines):
                self._leave_page(page, lines)

    def close(self) -> None:
        """Close the file, or have it made; further lines are dropped."""
        with self._lock:
            self._is_open = False
            if self._page is not None:
                filing.file_later(self._page)
                self._page = None
            if self._file is not None:
                self._file.close()
                self._file = None

    def _leave_page(self, page: Page, lines: bytes) -> None:
        """Go on in the file: a long run, or the child of a fork."""
        self._page = None
        self._write(page.content() + lines)
        page.give_back()

    def _write(self, lines: bytes) -> None:
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

    def _made(self) -> FileIO | None:
        try:
            path = os.fspath(self.path)
            try:
                self._file = FileIO(path, "ab")
            except FileNotFoundError:  # the first run of the day
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self._file = FileIO(path, "ab")
        except OSError:
            self._is_open = False
            metrics.TELEMETRY_ERRORS.inc()
        return self._file


def find(folder: Path, run_id: str) -> list[Path]:
    """Files of a run, oldest day first; a run that passes midnight has two, one that goes on may have none yet.

    `run_id` must be a canonical UUID.
    """
    filing.settle()
    held = {folder / name for name, _ in pages.held(folder) if name.endswith(f"/{run_id}.jsonl")}
    return sorted(held.union(folder.glob(f"date=*/{run_id}.jsonl")))


def newest(folder: Path, count: int) -> list[Path]:
    """The files written last, the last one first, those of runs that go on too; looks at the newest days only."""
    filing.settle()
    found = {folder / name: _written_at(lines) for name, lines in pages.held(folder)}
    for day in sorted(folder.glob("date=*"), reverse=True):
        with os.scandir(day) as entries:
            found |= {Path(entry.path): entry.stat().st_mtime for entry in entries if entry.name.endswith(".jsonl")}
        if len(found) >= count:
            break
    return sorted(found, key=lambda path: (found[path], path), reverse=True)[:count]


def read(folder: Path, run_id: str) -> list[dict[str, Any]]:
    """All whole lines of a run, each once; a torn one is left out. `run_id` must be a canonical UUID."""
    filing.settle()
    mine = f'{{"run_id":"{run_id}"'.encode()
    held = [line for _, lines in pages.held(folder) for line in lines.split(b"\n") if line.startswith(mine)]
    filed = [  # after the pages: a run leaves its page when it has its file
        line for path in sorted(folder.glob(f"date=*/{run_id}.jsonl")) for line in path.read_bytes().split(b"\n")
    ]
    return _parsed(dict.fromkeys([*filed, *held]))


def read_file(path: Path) -> list[dict[str, Any]]:
    """All whole lines of one file of a run that has ended."""
    return _parsed(path.read_bytes().split(b"\n"))


def _parsed(raw: Iterable[bytes]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for one in raw:
        try:
            line = orjson.loads(one)
        except orjson.JSONDecodeError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines


def _written_at(lines: bytes) -> float:
    """When the last line was written: seconds since the epoch, as files say it."""
    found = _parsed(lines.split(b"\n"))
    try:
        return (datetime.fromisoformat(found[0]["at"]) + timedelta(milliseconds=found[-1]["ms"])).timestamp()
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0
