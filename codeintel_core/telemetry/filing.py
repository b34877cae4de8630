"""Filing: the lines of a run leave its page for the run's own file, after the answer has gone out.

A run is in its page, in both places or in its file, at no time in none; lines that are there already are not written
again. What a killed process left in its pages is filed by the next one that opens the ledger.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import deque
from contextlib import suppress
from io import FileIO
from pathlib import Path

from codeintel_core.telemetry import metrics, pages
from codeintel_core.telemetry.pages import Page, Pages

_LAG_S = 0.05
"""From the end of a run to its filing: out of the way of the answer, and several runs at once."""


class _Cabinet:
    """The pages of this process, and the runs that wait to be filed; one thread files them."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with nothing; after a fork once more, since pages, runs and thread are the parent's."""
        self._pages: dict[Path, Pages | None] = {}
        self._opening, self._filing = threading.Lock(), threading.Lock()
        self._waiting: deque[Page] = deque()
        self._has_work = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, folder: Path, name: str) -> Page | None:
        """A page for a run; None where there is none: then its lines go to its file as they come."""
        try:
            found = self._pages[folder]
        except KeyError:
            found = self._open(folder)
        return found.take(name) if found is not None else None

    def _open(self, folder: Path) -> Pages | None:
        with self._opening:
            if folder not in self._pages:
                self._close_idle()
                recover(folder)
                try:
                    self._pages[folder] = Pages(folder)
                except (OSError, AttributeError):  # no room, or a system without posix_fallocate
                    self._pages[folder] = None
            return self._pages[folder]

    def _close_idle(self) -> None:
        """A process has one home; one that has many, one after the other, must not keep all their files open."""
        for folder, opened in list(self._pages.items()):
            if opened is None or opened.close(only_idle=True):
                del self._pages[folder]

    def file_later(self, page: Page) -> None:
        """File the run in this page, soon."""
        self._waiting.append(page)
        if self._thread is None:
            self._start()
        if not self._has_work.is_set():
            self._has_work.set()

    def _start(self) -> None:
        with self._opening, suppress(RuntimeError):  # at the end of the interpreter: `close` files it
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="ledger", daemon=True)
                thread.start()
                self._thread = thread

    def _work(self) -> None:
        while True:
            self._has_work.wait()
            time.sleep(_LAG_S)
            self._has_work.clear()
            self.settle()

    def settle(self) -> None:
        """File what waits; what cannot be written (a full disk) is counted, and waits for the next time."""
        with self._filing:
            while self._waiting:
                page = self._waiting[0]
                try:
                    file_lines(page.path, page.content())
                except FileNotFoundError:  # the ledger itself is gone
                    metrics.TELEMETRY_ERRORS.inc()
                except OSError:
                    metrics.TELEMETRY_ERRORS.inc()
                    return
                self._waiting.popleft()
                page.give_back()

    def close(self) -> None:
        """File what waits, and remove the pages."""
        self.settle()
        for opened in filter(None, self._pages.values()):
            opened.close()
        self._pages.clear()

    def forked(self) -> None:
        """In the child of a fork."""
        for opened in filter(None, self._pages.values()):
            opened.leave()
        self.begin()


def file_lines(path: str, lines: bytes) -> None:
    """Append those of the whole `lines` that the file does not have; raises OSError, also when not all fit."""
    if not lines:  # of pages that were closed meanwhile
        return
    try:
        file = _made(path)
    except FileExistsError:
        _append(path, lines)
        return
    try:  # three calls to the system: at each, Python's lock goes to a request and has to be waited for again
        if os.write(file, lines) != len(lines):
            raise OSError("short write")
    finally:
        os.close(file)


def _made(path: str) -> int:
    """The descriptor of a new file; raises FileExistsError when there is one."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:  # the first run of the day
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(path))
        return os.open(path, flags, 0o666)


def _append(path: str, lines: bytes) -> None:
    """The same to a file that is there: of a run that has filed before, or was killed while it did."""
    with FileIO(path, "a+b") as file:
        file.seek(0)
        there = file.readall()
        known = set(there.split(b"\n"))
        lines = b"".join(line + b"\n" for line in lines.split(b"\n")[:-1] if line not in known)
        if lines and there and not there.endswith(b"\n"):
            lines = b"\n" + lines
        if file.write(lines) != len(lines):
            raise OSError("short write")


def recover(folder: Path) -> int:
    """File the runs of processes that died; returns how many. What cannot be filed now stays where it can be read."""
    count = 0
    try:
        for of_process in pages.abandoned(folder):
            for name, lines in of_process:
                file_lines(f"{folder}/{name}", lines)
                count += 1
    except OSError:
        metrics.TELEMETRY_ERRORS.inc()
    return count


_cabinet = _Cabinet()
take, file_later, settle = _cabinet.take, _cabinet.file_later, _cabinet.settle
atexit.register(_cabinet.close)
os.register_at_fork(after_in_child=_cabinet.forked)
