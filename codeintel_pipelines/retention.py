"""Garbage collection of a whole home, under the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from codeintel_core.generations import retention
from codeintel_core.generations.retention import Collected
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Swept:
    """What a collection removed: generations of each repository, and registrations that were interrupted."""

    repositories: list[Collected]
    interrupted_adds: list[str]


def sweep(home: Home, settings: Settings, names: Sequence[str] = (), *, dry_run: bool = False) -> Swept:
    """Collect the named repositories, or all; raises `UnknownRepository`."""
    for name in names:
        mirror.registration(home, name)
    min_age = timedelta(hours=settings.gc_min_age_h)
    collected = [
        retention.gc(home.repository(name), keep_last=settings.gc_keep_last, min_age=min_age, dry_run=dry_run)
        for name in names or home.repository_names()
    ]
    left = [] if names else retention.clear_interrupted_adds(home, min_age=min_age, dry_run=dry_run)
    return Swept(collected, left)
