"""Noticing that a file was replaced, without asking the system for every request.

A request would ask about four files: keys, purge list, tuning, registered repositories. To ask takes a microsecond, but
Python's lock is given away meanwhile, and in a server that is busy 15 us are waited for it: of a cached search a fifth.
"""

from __future__ import annotations

import os
import threading
import time
from itertools import count
from pathlib import Path
from weakref import WeakValueDictionary

Stamp = tuple[int, int, int] | None
"""Inode, time of the last change in ns, size; None where there is no file."""

_GOOD_FOR_S = 0.005
_changes = count(1)  # `next` is one step, `+=` is not: of two changes at once none may be lost
_last_change = 0


def note_change() -> None:
    """This process has changed a file that somebody here may watch: all are looked at again."""
    global _last_change  # noqa: PLW0603 - one number for the process, as its files are
    _last_change = next(_changes)


class _Looks:
    """The last look at one path, for all of this process: who has seen a change never meets an older look again.

    So what is kept under a stamp is never made from an older list than that of the stamp, which was asked for first.
    """

    def __init__(self, path: str) -> None:
        self._path, self._lock = path, threading.Lock()
        self._seen: tuple[Stamp, float, int] = None, 0.0, -1  # one value, so that threads see all of it or none

    def stamp(self) -> Stamp:
        found, until_s, change = self._seen
        if time.monotonic() < until_s and change == _last_change:
            return found
        with self._lock:
            found, until_s, change = self._seen
            now_s = time.monotonic()
            if now_s < until_s and change == _last_change:
                return found
            change = _last_change  # before the look: what changes meanwhile is looked at again
            try:
                status = os.stat(self._path)
                found = status.st_ino, status.st_mtime_ns, status.st_size
            except FileNotFoundError:
                found = None
            self._seen = found, now_s + _GOOD_FOR_S, change
            return found


_looks: WeakValueDictionary[str, _Looks] = WeakValueDictionary()
_looks_lock = threading.Lock()


class Watched:
    """A file or folder, looked at again after 5 ms, or when this process has changed one (`note_change`)."""

    def __init__(self, path: Path) -> None:
        name = os.fspath(path)
        with _looks_lock:
            self._looks = _looks.get(name) or _looks.setdefault(name, _Looks(name))

    def stamp(self) -> Stamp:
        """What changes with the content; raises OSError when it cannot be looked at."""
        return self._looks.stamp()
