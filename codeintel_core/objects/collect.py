"""Garbage collection in a bucket: nothing goes that a machine could still be downloading.

A generation leaves in two steps: its record moves to `dropped/`, so that nobody starts to download it, and a day later
its record and the objects that no other generation names are deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from codeintel_core.generations import manifest as manifests
from codeintel_core.objects import keys
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.upload import GRACE, digests, parse_record, served

DROPPED = (keys.MIRROR_NAME, manifests.FILE_NAME)


@dataclass(slots=True)
class CollectedObjects:
    """What a collection in the bucket did, or would do."""

    repo: str
    dropped: list[str] = field(default_factory=list)  # generations nobody starts to download from now on
    kept: dict[str, list[str]] = field(default_factory=dict)  # gen_id -> reasons
    deleted_objects: int = 0
    deleted_bytes: int = 0


def collect(
    bucket: Bucket, repo: str, *, keep_last: int, min_age: timedelta, grace: timedelta = GRACE, dry_run: bool = False
) -> CollectedObjects:  # fmt: skip
    """Drop the generations that nobody needs, and delete what was dropped more than `grace` ago.

    Kept are what is served, the newest `keep_last`, and what is pinned or younger than `min_age`. Objects younger than
    `grace` stay, whoever names them: a build may be uploading them.

    Raises:
        BucketUnavailable: it could not be finished; the next collection does.
        GenerationCorrupt: the record of a generation is damaged, so what it names is not known; nothing is deleted.
    """
    done = CollectedObjects(repo)
    now = datetime.now(UTC)
    there = keys.complete(bucket.list(keys.generations(repo)))
    current, _ = served(bucket, repo)
    pinned = {key.rpartition("/")[2] for key in bucket.list(keys.pins(repo))}
    newest = sorted(there, reverse=True)[:keep_last]
    for gen_id, manifest in sorted(there.items()):
        facts = {
            "current": gen_id == current,
            "pinned": gen_id in pinned,
            "last": gen_id in newest,
            "young": manifest.modified > now - min_age,
        }
        done.kept[gen_id] = [reason for reason, is_so in facts.items() if is_so]
    done.dropped = [gen_id for gen_id, reasons in done.kept.items() if not reasons]
    done.kept = {gen_id: reasons for gen_id, reasons in done.kept.items() if reasons}
    if not dry_run:
        drop(bucket, repo, done.dropped)
    _sweep(bucket, repo, done, now - grace, dry_run=dry_run)
    return done


def drop(bucket: Bucket, repo: str, gen_ids: Collection[str]) -> None:
    """Take generations out of sight; one that is served again meanwhile (a roll back) comes back into it.

    Raises:
        BucketUnavailable: some may be out of sight and others not; the next call goes on.
    """
    for gen_id in gen_ids:
        documents = _record(bucket, f"{keys.generations(repo)}/{gen_id}", keys.RECORD)
        for name in DROPPED:
            if name in documents:
                bucket.put(keys.dropped(repo, gen_id, name), documents[name])
        bucket.delete(keys.record(repo, gen_id, name) for name in reversed(keys.RECORD))
        if served(bucket, repo)[0] == gen_id:
            for name, document in documents.items():
                bucket.put(keys.record(repo, gen_id, name), document)


def expunge(bucket: Bucket, repo: str) -> CollectedObjects:
    """Delete at once what was dropped and whatever only that names, also when somebody is downloading it.

    Raises:
        BucketUnavailable: it could not be finished; the next call goes on, since the dropped records are deleted last.
        GenerationCorrupt: the record of a generation is damaged, so what it names is not known.
    """
    done = CollectedObjects(repo)
    _sweep(bucket, repo, done, datetime.now(UTC) - GRACE, at_once=True)
    return done


def _sweep(
    bucket: Bucket, repo: str, done: CollectedObjects, before: datetime, *, dry_run: bool = False, at_once: bool = False
) -> None:  # fmt: skip
    """Delete records that were dropped before that time (all of them `at_once`), and objects that only they named.

    Objects that no record ever named go when they are as old; a build may be uploading the younger ones.
    """
    objects = bucket.list(keys.objects(repo))  # first: what is uploaded from now on is not in it
    records = bucket.list(keys.generations(repo))
    complete = keys.complete(records)
    named: set[str] = set()
    for gen_id in complete:
        named |= _named(gen_id, _record(bucket, f"{keys.generations(repo)}/{gen_id}"))
    # After them, so what another collection drops meanwhile is in one of the two.
    dropped = keys.complete(bucket.list(keys.dropped(repo)))
    expired = {gen_id for gen_id, manifest in dropped.items() if at_once or manifest.modified <= before}
    named_by_dropped: set[str] = set()
    for gen_id in dropped if at_once else dropped.keys() - expired:
        named_by_dropped |= _named(gen_id, _record(bucket, keys.dropped(repo, gen_id)))
    condemned = named_by_dropped - named if at_once else set[str]()
    if not at_once:
        named |= named_by_dropped
    torn = [key for key, entry in records.items() if key.split("/")[-2] not in complete and entry.modified <= before]
    doomed = {
        key: entry
        for key, entry in objects.items()
        if (name := key.rpartition("/")[2]) in condemned or (name not in named and entry.modified <= before)
    }
    if not dry_run:
        again = bucket.list(keys.objects(repo))  # an upload that needs one of them has written it anew
        doomed = {key: entry for key, entry in doomed.items() if again.get(key) == entry}
        bucket.delete(doomed)
        bucket.delete(keys.dropped(repo, gen_id, name) for gen_id in sorted(expired) for name in DROPPED)
        bucket.delete(torn)  # of uploads and collections that were killed
    done.deleted_objects, done.deleted_bytes = len(doomed), sum(entry.size_bytes for entry in doomed.values())


def _record(bucket: Bucket, folder: str, names: Collection[str] = DROPPED) -> dict[str, bytes]:
    """The documents of a generation that are there, by name."""
    found = {name: bucket.get(f"{folder}/{name}") for name in names}
    return {name: pair[0] for name, pair in found.items() if pair is not None}


def _named(gen_id: str, documents: Mapping[str, bytes]) -> set[str]:
    """Digests that a record names; none when it was dropped or deleted meanwhile."""
    if len(documents) < len(DROPPED):
        return set()
    return digests(*parse_record(gen_id, documents[manifests.FILE_NAME], documents[keys.MIRROR_NAME]))
