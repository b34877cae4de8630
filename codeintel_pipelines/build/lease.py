"""The build lease: one run at a time builds a repository; a lease of a dead process is taken over."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

from codeintel_core.errors import BuildInProgress
from codeintel_core.generations.leases import start_of
from codeintel_core.generations.publish import publish_lock
from codeintel_core.home import RepositoryHome


@dataclass(frozen=True, slots=True)
class Lease:
    """Who builds: a Dagster run in a process, told apart from a later one of the same id by its start time."""

    run_id: str
    pid: int
    started: str


def acquire(home: RepositoryHome, run_id: str, is_finished: Callable[[str], bool]) -> None:
    """Make `run_id` the builder of the repository.

    Args:
        home: folder of the repository.
        run_id: Dagster run id of the caller; a lease it holds already is renewed.
        is_finished: whether a Dagster run is over; the holder of the lease is asked about when it is another.

    Raises:
        BuildInProgress: another run of a living process holds the lease.
    """
    with publish_lock(home):
        holder = _read(home)
        if holder and holder.run_id != run_id and _is_alive(holder) and not is_finished(holder.run_id):
            raise BuildInProgress(
                f"'{home.name}' is being built by run {holder.run_id[:8]} (process {holder.pid}); "
                "wait for it or stop it"
            )
        pending = home.lease.with_suffix(".tmp")
        pending.write_text(json.dumps(asdict(Lease(run_id, os.getpid(), start_of(os.getpid())))))
        pending.replace(home.lease)


def require(home: RepositoryHome, run_id: str) -> None:
    """Raise `BuildInProgress` when another run has taken the lease since."""
    holder = _read(home)
    if holder is None or holder.run_id != run_id:
        raise BuildInProgress(f"another run took over the build of '{home.name}'; run the build again")


def release(home: RepositoryHome, run_id: str) -> None:
    """Give the lease back if `run_id` holds it."""
    with publish_lock(home):
        holder = _read(home)
        if holder and holder.run_id == run_id:
            home.lease.unlink(missing_ok=True)


def _read(home: RepositoryHome) -> Lease | None:
    try:
        return Lease(**json.loads(home.lease.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _is_alive(lease: Lease) -> bool:
    return start_of(lease.pid) == lease.started != ""
