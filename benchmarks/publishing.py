"""Publishing a generation: the built one again, beside writing the same files to the disk and renaming their folder."""

from __future__ import annotations

import shutil
import statistics
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.rows import Row, Rows, seconds
from benchmarks.workplace import NAME, Workplace
from codeintel_core import durable, identity
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id, publish
from codeintel_core.home import RepositoryHome

_ROUNDS = 5
_GOAL_MS = 150.0


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves, and publishes to it."""
    repository = at.home.repository(NAME)
    ours_s, bare_s = [], []
    for number in range(_ROUNDS):  # in turn: the disk is shared
        bare_s.append(_bare(repository, at.folder / f"published-{number}"))
        ours_s.append(_ours(repository))
    ours, bare = statistics.median(ours_s) * 1000, statistics.median(bare_s) * 1000
    note = f"the files alone, staged, to the disk and renamed: {bare:.0f} ms"
    beyond = max(1.0, ours - bare)
    yield Row(
        "publishing", "a generation, beyond its files", beyond, "ms", f"goal {_GOAL_MS:g}", _GOAL_MS / beyond, note
    )
    yield Row("publishing", "a generation", ours, "ms", f"bare {bare:.0f}", bare / ours)


def _ours(repository: RepositoryHome) -> float:
    served = repository.generation(str(current_id(repository)))
    manifest = manifests.load(served)
    new = identity.new_gen_id(datetime.now(UTC), manifest.commit)
    staging = repository.staging / new
    _copy(served, staging)
    again = manifest.model_copy(update={"gen_id": new, "parent": manifest.gen_id})
    return seconds(lambda: publish(repository, staging, again))


def _bare(repository: RepositoryHome, target: Path) -> float:
    staging = target.with_suffix(".staging")
    _copy(repository.generation(str(current_id(repository))), staging)

    def work() -> None:
        for path in [*staging.rglob("*"), staging]:
            durable.fsync(path)
        staging.rename(target)
        durable.fsync(target.parent)

    return seconds(work)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target)
