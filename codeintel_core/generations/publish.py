"""Atomic publishing: everything is on disk and verified before one rename and one pointer swap make it visible."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from codeintel_core import durable
from codeintel_core.errors import PublishConflict, UnknownGeneration
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import RepositoryHome
from codeintel_core.repository.git import GitRepository

Announce = Callable[[], None]
"""Called under the publish lock, just before CURRENT moves: makes another store follow, or raises to stop it here."""


def _nobody() -> None:
    """There is no other store."""


def current_id(home: RepositoryHome) -> str | None:
    """Id of the served generation, or None when nothing is published."""
    try:
        return home.current.read_text("utf-8", "replace").strip() or None
    except FileNotFoundError:
        return None


@contextmanager
def publish_lock(home: RepositoryHome) -> Iterator[None]:
    """Hold the repository's lock: one publisher (and one change of the build lease) at a time, across processes."""
    with home.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def publish(home: RepositoryHome, staging: Path, manifest: Manifest, announce: Announce = _nobody) -> Path:
    """Publish a finished staging folder as `manifest.gen_id` and point CURRENT at it.

    Order: write the manifest, fsync files and folders, pin the commit, rename, fsync, swap the pointer. A crash at
    any point leaves CURRENT naming a complete generation.

    Raises:
        PublishConflict: CURRENT is no longer the parent this generation was built from.
    """
    manifests.save(staging, manifest)
    durable.fsync_tree(staging)
    with publish_lock(home):
        served = current_id(home)
        if served != manifest.parent:
            raise PublishConflict(
                f"'{home.name}' now serves {served}, this build started from {manifest.parent}; run the build again"
            )
        GitRepository(home.mirror).git("update-ref", f"refs/codeintel/generations/{manifest.gen_id}", manifest.commit)
        home.generations.mkdir(exist_ok=True)
        announce()
        target = home.generation(manifest.gen_id)
        staging.rename(target)
        durable.fsync(home.generations)
        point_at_locked(home, manifest.gen_id)
    return target


def point_at(home: RepositoryHome, gen_id: str, announce: Announce = _nobody) -> None:
    """Roll back or forward: make an existing generation the served one, after verifying it."""
    folder = home.generation(gen_id)
    unknown = UnknownGeneration(f"'{home.name}' keeps no generation {gen_id}; see `codeintel generations {home.name}`")
    if gen_id not in {path.name for path in home.generations.glob("*")}:
        raise unknown
    manifests.verify(folder, manifests.load(folder))
    with publish_lock(home):
        if not folder.is_dir():  # collected while it was verified
            raise unknown
        announce()
        point_at_locked(home, gen_id)


def point_at_locked(home: RepositoryHome, gen_id: str) -> None:
    """Write CURRENT, durably; the caller holds the publish lock."""
    durable.replace(home.current, f"{gen_id}\n".encode())
