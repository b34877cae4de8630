"""Letting go, on one machine, of what a purge took out of the bucket."""

from __future__ import annotations

import fcntl
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from codeintel_core.errors import BucketUnavailable
from codeintel_core.generations import leases, retention
from codeintel_core.generations.publish import publish_lock
from codeintel_core.home import RepositoryHome
from codeintel_core.objects import keys
from codeintel_core.objects.bucket import Bucket
from codeintel_core.repository.git import GitRepository

_log = logging.getLogger("codeintel.purge")


def let_go(bucket: Bucket, at: RepositoryHome) -> bool:
    """Remove every generation that the bucket does not keep, pinned and open ones too, and what may become one.

    A publish or download that has the publish lock before this ends first, and what it brought is looked at; one that
    gets it afterwards finds out itself that something was purged.

    Returns:
        Whether no process has any of them open any more.

    Raises:
        BucketUnavailable, GitFailed: it is not finished; call it again.
    """
    with alone(at):
        shutil.rmtree(at.incoming, ignore_errors=True)
        with publish_lock(at):
            here = [path.name for path in at.generations.glob("*")]
        there = keys.complete(bucket.list(keys.generations(at.name)))
        if gone := [gen_id for gen_id in here if gen_id not in there]:
            _log.warning("%s: purged: %s", at.name, ", ".join(gone))
            retention.drop(at, gone)
        if not leases.is_being_built(at):  # a build that runs may not publish what it made before the purge
            shutil.rmtree(at.staging, ignore_errors=True)
            if gone:
                GitRepository(at.mirror).git("gc", "--quiet", "--prune=now")
    return all(at.generation(gen_id).is_dir() for gen_id in leases.leased(at))


@contextmanager
def alone(at: RepositoryHome) -> Iterator[None]:
    """One process at a time downloads generations of a repository."""
    try:
        file = (at.root / "download.lock").open("a")
    except FileNotFoundError:
        raise BucketUnavailable(f"'{at.name}' serves a generation in the bucket but is not registered there") from None
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
