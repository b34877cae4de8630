"""What the sensors look at: heads of sources, ratios in manifests, bytes of journals. Plain functions of the state.

Each answer carries a run key made of the state it was derived from, so the same state never asks for two runs.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from codeintel_core.errors import CodeIntelError, GenerationCorrupt
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import NOT_CONFIGURED, Manifest
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.rollback import hold_of
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.repository import lag, mirror
from codeintel_core.settings import Settings
from codeintel_core.traces import journal, tables
from codeintel_core.vector_engine.select import engine_for
from codeintel_pipelines.build.plan import is_compact

_TICK_S = 4.0  # a sensor tick has to stay below 5


@dataclass(frozen=True, slots=True)
class Due:
    """A partition that a job should run for."""

    partition: str
    run_key: str


@dataclass(slots=True)
class Heads:
    """What a look at the sources' heads found.

    Attributes:
        due: repositories whose source is at another commit than what serves.
        asked: when each URL was last asked (seconds since the epoch); the cursor of the sensor.
        waiting: why a repository is not due although its head moved, or could not be asked.
    """

    due: list[Due] = field(default_factory=list)
    asked: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)


def heads(
    home: Home, settings: Settings, asked: Mapping[str, float], now: float, clock: Callable[[], float] = time.monotonic
) -> Heads:
    """Compare the head of every source with what serves; fetches nothing.

    A folder is read every time. A URL is asked when `head_interval_s` has passed since it last was, those that have
    waited longest first, and only while the tick has time left.
    """
    ends = clock() + _TICK_S
    names = home.repository_names()
    found = Heads(asked={name: asked[name] for name in names if name in asked})
    for name in sorted(names, key=lambda name: asked.get(name, 0.0)):
        left = ends - clock()
        is_local = mirror.registration(home, name).is_local
        if not is_local and now - asked.get(name, 0.0) < settings.head_interval_s:
            continue
        if left <= 0:
            found.waiting[name] = "the tick has no time left"
            continue
        found.asked[name] = now
        try:
            head = mirror.source_head(home, name, timeout_s=min(settings.head_timeout_s, left))
        except CodeIntelError as error:
            found.waiting[name] = str(error)
            continue
        lag.note_head(home, name, head)
        served = served_manifest(home, name)
        hold = hold_of(home, name)
        if hold is not None and hold.head == head:
            found.waiting[name] = f"rolled back from {head[:10]}"
        elif served is None or served.commit != head or served.is_pending:
            found.due.append(Due(name, f"{name}@{head}@{_pointer_age(home, name)}"))
    return found


def not_in_engine(
    home: Home, settings: Settings, now: datetime, clock: Callable[[], float] = time.monotonic
) -> list[Due]:
    """Repositories whose served generation is not in the vector engine, while that answers; none without an engine.

    One that was lost there is asked for again every hour. One that its own build could not bring there only every day:
    the engine may refuse it, and each build of it is another generation. What was rolled back is left alone, since a
    build would take it to its head.

    Raises:
        VectorEngineUnavailable: it does not answer.
    """
    engine, found = engine_for(settings), list[Due]()
    if engine is None:
        return found
    ends = clock() + _TICK_S  # an engine that hangs is given up later, after its first question
    with closing(engine):
        for name, manifest in _served(home).items():
            if clock() > ends:
                break
            if hold_of(home, name) is None and manifest.gen_id not in engine.kept(name):
                was_tried = manifest.vector_engine.reason not in ("", NOT_CONFIGURED)
                found.append(Due(name, f"{name}@vector-engine@{now:{'%Y%m%d' if was_tried else '%Y%m%dT%H'}}"))
    return found


def outgrown(home: Home, settings: Settings) -> list[Due]:
    """Repositories whose served index holds too much beside its primary."""
    return [
        Due(name, f"compact@{manifest.gen_id}")
        for name, manifest in _served(home).items()
        if manifest.counts.compaction_ratio > settings.compaction_ratio
    ]


def not_compact(home: Home) -> list[Due]:
    """Repositories whose served index could be merged, however little there is to merge."""
    return [
        Due(name, f"compact@{manifest.gen_id}") for name, manifest in _served(home).items() if not is_compact(manifest)
    ]


def journals(home: Home, seen: Mapping[str, int]) -> tuple[list[Due], dict[str, int]]:
    """Days whose journals grew since `seen` (bytes by day), and the bytes now."""
    sizes: Counter[str] = Counter()
    for table in tables.every(home):
        for day in journal.days(table.journals):
            sizes[day] += sum(path.stat().st_size for path in journal.files(table.journals, day))
    return [Due(day, f"{day}@{size}") for day, size in sizes.items() if size > seen.get(day, 0)], dict(sizes)


def segments(settings: Settings, now: datetime) -> list[Due]:
    """Days of which other machines handed rows to the bucket; asked for again every hour while the same ones wait.

    Raises:
        BucketUnavailable: it does not answer within the time of a tick.
        InvalidRequest: another machine makes the tables.
    """
    gathering, days = shared.gathering(settings, is_hurried=True), defaultdict[str, list[str]](list)
    for segment in gathering.waiting() if gathering is not None else ():
        days[segment.day].append(segment.key)
    digests = {day: hashlib.sha256("".join(keys).encode()).hexdigest()[:16] for day, keys in days.items()}
    return [Due(day, f"{day}@{digest}@{now:%Y%m%dT%H}") for day, digest in sorted(digests.items())]


def days_to_compact(home: Home) -> list[str]:
    """Days with a journal that is newer than the day's table."""
    return sorted(
        {
            day
            for table in tables.every(home)
            for day in journal.days(table.journals)
            if _newest(journal.files(table.journals, day)) >= _newest([table.path(day)])
        }
    )


def stale_analytics(home: Home) -> str:
    """Run key of a refresh when a day's table or a published generation is newer than the database, else ''."""
    written = [path for table in tables.every(home) for path in table.daily.glob("*/*.parquet")]
    written += [home.repository(name).current for name in home.repository_names()]
    newest = _newest(written)
    return f"analytics@{newest}" if newest > _newest([home.analytics]) else ""


def _newest(paths: Iterable[Path]) -> int:
    """Latest time of change in ns; 0 when none of the files is there."""
    return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)


def served_manifest(home: Home, name: str) -> Manifest | None:
    """The manifest that CURRENT names, or None when there is none that can be read."""
    repository = home.repository(name)
    try:
        return manifests.load(repository.generation(current_id(repository) or "none"))
    except GenerationCorrupt:
        return None


def _served(home: Home) -> dict[str, Manifest]:
    found = {name: served_manifest(home, name) for name in home.repository_names()}
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def _pointer_age(home: Home, name: str) -> int:
    """Changes with every publish and roll back: a commit that comes back after another one is built again."""
    pointer = home.repository(name).current
    return pointer.stat().st_mtime_ns if pointer.exists() else 0
