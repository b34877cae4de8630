"""Garbage collection of a whole home, under the settings."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from codeintel_core.generations import retention
from codeintel_core.generations.retention import Collected
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.objects.collect import CollectedObjects
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_core.traces.retention import Expired, expire
from codeintel_core.vector_engine.select import engine_for
from codeintel_pipelines import delta

_LOST_AFTER = timedelta(days=1)  # what no home keeps and is younger may belong to a build that goes on


@dataclass(frozen=True, slots=True)
class CollectedVectors:
    """What went from the vector engine: generations, and rows that only they had."""

    repo: str
    generations: list[str]
    rows: int


@dataclass(frozen=True, slots=True)
class Swept:
    """What a collection removed: generations of each repository, interrupted registrations, old traces and exports."""

    repositories: list[Collected]
    interrupted_adds: list[str]
    bucket: list[CollectedObjects]
    """What went from the bucket that the home is in."""
    traces: Expired | None
    """None when only some repositories were collected."""
    handed_over: int
    """Journals whose rows another machine has in its tables, and segments of the bucket that are too old."""
    delta_files: list[str]
    """Files of Delta tables that only versions older than the limit need, relative to the home."""
    vector_engine: list[CollectedVectors]
    """What went from the vector engine."""


def sweep(home: Home, settings: Settings, names: Sequence[str] = (), *, dry_run: bool = False) -> Swept:
    """Collect the named repositories, or all.

    Raises:
        UnknownRepository: nothing was collected.
        BucketUnavailable, VectorEngineUnavailable: what lies there stays until the next collection.
    """
    for name in names:
        mirror.registration(home, name)
    min_age = timedelta(hours=settings.gc_min_age_h)
    collected = [
        retention.gc(home.repository(name), keep_last=settings.gc_keep_last, min_age=min_age, dry_run=dry_run)
        for name in names or home.repository_names()
    ]
    in_bucket = _collect_bucket(home, settings, names, dry_run=dry_run) if settings.bucket_url else []
    left = [] if names else retention.clear_interrupted_adds(home, min_age=min_age, dry_run=dry_run)
    expired, handed_over = (None, 0) if names else _expire_rows(home, settings, dry_run=dry_run)
    old = [] if names else delta.vacuum(home, keep_days=settings.delta_keep_days, dry_run=dry_run)
    vectors = _collect_vectors(settings, collected, in_bucket, dry_run=dry_run)
    return Swept(collected, left, in_bucket, expired, handed_over, old, vectors)


def _collect_vectors(
    settings: Settings, collected: Sequence[Collected], in_bucket: Sequence[CollectedObjects], *, dry_run: bool
) -> list[CollectedVectors]:  # fmt: skip
    """Take out of the vector engine what was collected, and what no home or bucket has kept for a day."""
    engine = engine_for(settings)
    if engine is None:
        return []
    bucket = {done.repo: done for done in in_bucket}
    lost_before, found = datetime.now(UTC) - _LOST_AFTER, []
    with closing(engine):
        for done in collected:
            objects = bucket.get(done.repo)
            kept = {*done.kept, *(objects.kept if objects else ())}
            gone = {*done.removed, *(objects.dropped if objects else ())} - kept
            there = engine.kept(done.repo)
            doomed = sorted(
                gen_id
                for gen_id, when in there.items()
                if gen_id in gone or (gen_id not in kept and when < lost_before)
            )
            rows = engine.delete(done.repo, doomed) if doomed and not dry_run else 0
            found.append(CollectedVectors(done.repo, doomed, rows))
    return found


def _expire_rows(home: Home, settings: Settings, *, dry_run: bool) -> tuple[Expired, int]:
    """Remove old rows; those that another machine is to have stay until they were handed over."""
    today, handover = datetime.now(UTC).date(), shared.handover(settings)
    trace_days, ledger_days = settings.trace_keep_days, settings.ledger_keep_days
    if handover is not None and not dry_run:
        handover.run()
    spared = handover.unsent() if handover is not None else frozenset[Path]()
    expired = expire(home, today, trace_days=trace_days, ledger_days=ledger_days, dry_run=dry_run, spared=spared)
    if handover is None:
        return expired, 0
    return expired, handover.expire(today, trace_days=trace_days, ledger_days=ledger_days, dry_run=dry_run)


def _collect_bucket(home: Home, settings: Settings, names: Sequence[str], *, dry_run: bool) -> list[CollectedObjects]:
    from codeintel_core.objects.bucket import Bucket
    from codeintel_core.objects.collect import collect

    bucket, min_age = Bucket.of(settings), timedelta(hours=settings.gc_min_age_h)
    return [
        collect(bucket, name, keep_last=settings.gc_keep_last, min_age=min_age, dry_run=dry_run)
        for name in names or home.repository_names()
    ]
