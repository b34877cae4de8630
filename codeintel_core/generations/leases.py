"""Leases: who uses a repository's files now, so that garbage collection in another process keeps its hands off.

A reader holds a lock on a file of its own for each generation it has open. The kernel drops the lock when the process
dies, however it dies, and also across containers that share the home, where process ids mean nothing.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from codeintel_core.generations.publish import publish_lock
from codeintel_core.home import RepositoryHome

_log = logging.getLogger("codeintel.leases")


class ReaderLease:
    """Protects one generation until it is given back or this process ends."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file

    @classmethod
    def take(cls, home: RepositoryHome, gen_id: str) -> ReaderLease | None:
        """Lease a generation before it is opened; None when the home cannot be written.

        A full disk or a read-only home must not stop serving; what is open stays readable even when it is removed.
        """
        path = home.leases / f"{gen_id}@{os.getpid()}-{os.urandom(4).hex()}"
        try:
            home.leases.mkdir(exist_ok=True)
            with publish_lock(home):  # against a collection that is just looking
                file = path.open("w")
                fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            _log.warning("generation %s is read without a lease: %s", gen_id, error)
            return None
        return cls(path, file)

    def give_back(self) -> None:
        """End the lease."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        self._file.close()


def leased(home: RepositoryHome) -> dict[str, set[int]]:
    """Generations that living processes have open, and the ids of those processes."""
    found: dict[str, set[int]] = {}
    for path in _files(home):
        if _is_locked(path):
            gen_id, _, owner = path.name.rpartition("@")
            found.setdefault(gen_id, set()).add(int(owner.partition("-")[0]))
    return found


def clear_stale(home: RepositoryHome) -> int:
    """Remove the files of dead processes; hold the publish lock. Returns how many there were."""
    stale = [path for path in _files(home) if not _is_locked(path)]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def is_being_built(home: RepositoryHome) -> bool:
    """Whether the process that holds the build lease is alive."""
    try:
        holder = json.loads(home.lease.read_text())
        return bool(holder["started"]) and start_of(holder["pid"]) == holder["started"]
    except (OSError, ValueError, TypeError, KeyError):
        return False


def start_of(pid: int) -> str:
    """Start time of a process in clock ticks since boot, '' when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _files(home: RepositoryHome) -> Iterator[Path]:
    yield from sorted(home.leases.glob("*@*-*"))


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # given back meanwhile
        return False
    return False
