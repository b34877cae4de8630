"""What builds, commands and the server do besides when the home is in a bucket; nothing, and no import, otherwise."""

from __future__ import annotations

import logging
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from codeintel_core.errors import GenerationCorrupt, InvalidRequest, PublishConflict, UnknownGeneration
from codeintel_core.generations.publish import current_id, publish
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.settings import Settings

if TYPE_CHECKING:
    from codeintel_core.generations.manifest import Manifest
    from codeintel_core.objects.gathering import Gathering
    from codeintel_core.objects.handover import Handover
    from codeintel_core.objects.purging import BucketPurge
    from codeintel_core.objects.replica import Replica

_log = logging.getLogger("codeintel.objects")
_PATIENCE_S, _HURRIED_S = 30, 3  # for what is tried again anyway, and for what somebody waits for


def replica(settings: Settings) -> Replica | None:
    """The follower of the home's bucket, None when the home is a folder."""
    if not settings.bucket_url:
        return None
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.replica import Replica

    limit = int(settings.home_cache_gib * (1 << 30))
    return Replica(Bucket.of(settings), Home(settings.home), max_bytes=limit, timeout_s=settings.git_timeout_s)


def handover(settings: Settings) -> Handover | None:
    """What hands over this machine's rows to the one that makes the tables, None when the home is a folder."""
    if not settings.bucket_url:
        return None
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.handover import Handover

    bucket, hurried = (Bucket.of(settings, patience_s=seconds) for seconds in (_PATIENCE_S, _HURRIED_S))
    return Handover(bucket, Home(settings.home), hurried=hurried, collects=settings.collect_traces)


def gathering(settings: Settings, *, is_hurried: bool = False) -> Gathering | None:
    """What brings in the rows of all machines, None where the settings do not say that this one makes the tables."""
    if not settings.bucket_url or not settings.collect_traces:
        return None
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.gathering import Gathering

    return Gathering(Bucket.of(settings, patience_s=_HURRIED_S if is_hurried else _PATIENCE_S), Home(settings.home))


def opened(settings: Settings, name: str = "", *, generations: bool = True) -> Home:
    """The home as its bucket is now, for a command: with what serves of one repository or all, or only their names.

    Raises:
        BucketUnavailable, GenerationCorrupt, StorageFailed: it cannot be brought up to date.
    """
    if (follower := replica(settings)) is not None:
        follower.pull(name, generations=generations)
    return Home(settings.home)


def followed(settings: Settings) -> Home:
    """The home with everything that its bucket keeps, or with what is here when the bucket cannot be used."""
    if (follower := replica(settings)) is not None:
        follower.follow_to_the_end()
    return Home(settings.home)


def share(settings: Settings) -> None:
    """Write registrations, holds, pins and the purge list that a command changed to the bucket.

    Raises:
        BucketUnavailable, PublishConflict: they are changed here but not there; run the command again.
    """
    if (follower := replica(settings)) is not None:
        follower.files.push()


def announce_files(settings: Settings, changes: Mapping[Path, bytes | None]) -> None:
    """Write or delete (None) small files of the home in the bucket, in this order, before the same is done here.

    Raises:
        BucketUnavailable, PublishConflict: it may not be done here either; the latter says that a machine was faster.
    """
    if (follower := replica(settings)) is not None:
        follower.files.announce(changes)


def prepare(settings: Settings, home: Home, repo: str) -> None:
    """Before a build is planned: its parent is what the bucket serves.

    A generation that is served here while the bucket serves none of the repository (the home was a folder before) is
    brought there. One that is damaged in the bucket is no parent to reuse, but its place is taken over.
    """
    if (follower := replica(settings)) is None:
        return
    from codeintel_core.generations import manifest as manifests
    from codeintel_core.objects.upload import move, served, upload

    try:
        follower.pull(repo)
    except (GenerationCorrupt, UnknownGeneration) as error:  # the latter: it was purged while it was published
        _log.warning("%s; building everything anew", error)
        follower.point(repo)
        return
    at = home.repository(repo)
    gen_id = current_id(at)
    if gen_id is not None and served(follower.bucket, repo)[0] is None:
        follower.files.push()
        manifest = manifests.load(at.generation(gen_id))
        manifests.verify(at.generation(gen_id), manifest)
        upload(follower.bucket, at, at.generation(gen_id), manifest, settings.git_timeout_s)
        move(follower.bucket, repo, None, gen_id)


def publish_shared(
    settings: Settings, home: RepositoryHome, staging: Path, manifest: Manifest, purged: str = ""
) -> Path:  # fmt: skip
    """`publish`, after the generation was uploaded; the bucket's pointer moves first, and decides between machines.

    `purged` is the state of the purge list (`purged.state`) when the build began.

    Raises:
        PublishConflict: another generation was published meanwhile, here or elsewhere, or something was purged.
        BucketUnavailable: the bucket cannot be used; nothing was published.
    """
    if not settings.bucket_url:
        return publish(home, staging, manifest)
    from codeintel_core.generations import manifest as manifests
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.collect import drop, expunge
    from codeintel_core.objects.upload import is_purged_since, move, upload, withdraw

    bucket = Bucket.of(settings)
    manifests.save(staging, manifest)
    upload(bucket, home, staging, manifest, settings.git_timeout_s)

    def announce() -> None:
        if is_purged_since(bucket, purged):  # a purge lists generations after its entry: one of both sees the other
            raise PublishConflict(f"something was purged while '{home.name}' was built; run the build again")
        move(bucket, home.name, manifest.parent, manifest.gen_id)

    try:
        return publish(home, staging, manifest, announce)
    except PublishConflict:
        if is_purged_since(bucket, purged):  # what was sent may hold it, so it does not wait for a collection
            drop(bucket, home.name, [manifest.gen_id])
            expunge(bucket, home.name)
        else:
            withdraw(bucket, home.name, manifest.gen_id)
        raise


def bucket_purge(settings: Settings, *, wait_s: float, gone: Collection[str] = ()) -> BucketPurge | None:
    """What a purge does in the home's bucket (`BucketPurge`), None when the home is a folder.

    Raises:
        InvalidRequest: machines that are gone are named, but nobody follows a folder.
    """
    if not settings.bucket_url:
        if gone:
            raise InvalidRequest("--gone is for a home in a bucket: nothing else follows this one")
        return None
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.purging import BucketPurge
    from codeintel_core.objects.replica import Replica

    timeout_s = settings.git_timeout_s
    follower = Replica(Bucket.of(settings), Home(settings.home), max_bytes=sys.maxsize, timeout_s=timeout_s)
    return BucketPurge(follower, timeout_s, wait_s=wait_s, gone=gone)


def announce(settings: Settings, home: RepositoryHome, gen_id: str) -> None:
    """Make a kept generation the served one of the bucket, before it is the one of this home (roll back)."""
    if not settings.bucket_url:
        return
    from codeintel_core.generations import manifest as manifests
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.upload import move, upload

    bucket, folder = Bucket.of(settings), home.generation(gen_id)
    upload(bucket, home, folder, manifests.load(folder), settings.git_timeout_s)
    move(bucket, home.name, current_id(home), gen_id)
