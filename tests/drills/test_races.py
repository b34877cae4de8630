"""Drill 13: two publishes, builds, full rebuilds or compactions at once: one winner, a clear line for the other."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import plain_build
from codeintel_core import identity
from codeintel_core.errors import BuildInProgress, CodeIntelError, PublishConflict
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id, point_at, publish
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_pipelines.build import lease
from tests.conftest import GitRepo, Repo
from tests.drills.conftest import cycles, module, settings_for

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("_fake_encoder")]

NAME = "raced"


@pytest.fixture
def source(home: Home, git_repo: GitRepo) -> Repo:
    """A registered and built repository."""
    repo = git_repo({f"src/m{i}.py": module(i) for i in range(10)}, name=NAME)
    mirror.add(home, str(repo.path), name=NAME)
    plain_build.build(home, settings_for(home), NAME)
    return repo


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """Results (or errors) of the works, all started at the same moment."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(position: int) -> None:
        barrier.wait()
        try:
            results[position] = works[position]()
        except CodeIntelError as error:
            results[position] = error

    threads = [threading.Thread(target=run, args=(position,)) for position in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize(
    "kinds",
    [({}, {}), ({"force": True}, {"force": True}), ({"compact": True}, {}), ({"compact": True}, {"compact": True})],
    ids=["two builds", "two full rebuilds", "compaction and build", "two compactions"],
)
def test_two_at_once(home: Home, source: Repo, kinds: tuple[dict[str, bool], dict[str, bool]]) -> None:
    """Whichever comes first works; the other finds the lease taken (Dagster records its run as skipped)."""
    settings = settings_for(home, inline_rebuild_ratio=10.0)
    source.commit({"src/m0.py": module(98)})
    plain_build.build(home, settings, NAME)  # something to compact
    source.commit({"src/new.py": module(99)})
    before = len(kept(home.repository(NAME)))

    def build(kind: dict[str, bool]) -> Manifest:
        return plain_build.build(home, settings, NAME, is_finished=lambda _: False, **kind)

    results = at_once(*[lambda kind=kind: build(kind) for kind in kinds])
    losers = [result for result in results if isinstance(result, BuildInProgress)]
    winners = [result for result in results if isinstance(result, Manifest)]
    assert len(winners) == len(losers) == 1, results
    assert "is being built by run" in str(losers[0])
    assert current_id(home.repository(NAME)) == winners[0].gen_id
    assert len(kept(home.repository(NAME))) == before + 1


def test_two_publishers_of_the_same_parent(home: Home, source: Repo) -> None:
    at = home.repository(NAME)
    for _ in range(cycles(5)):
        parent = manifests.load(at.generation(str(current_id(at))))
        staged = [_staged_copy(home, parent) for _ in range(3)]
        results = at_once(*[lambda m=manifest: publish(at, at.staging / m.gen_id, m) for manifest in staged])
        conflicts = [result for result in results if isinstance(result, PublishConflict)]
        (winner,) = [result for result in results if not isinstance(result, CodeIntelError)]
        assert len(conflicts) == 2, results
        assert all("run the build again" in str(conflict) for conflict in conflicts)
        assert current_id(at) == winner.name
        manifests.verify(winner, manifests.load(winner))


def test_a_roll_back_during_a_build_wins(home: Home, source: Repo) -> None:
    """A build that was planned from a generation which is no longer served is refused, not published over it."""
    at = home.repository(NAME)
    first = str(current_id(at))
    source.commit({"src/new.py": module(99)})
    second = plain_build.build(home, settings_for(home), NAME)
    staged = _staged_copy(home, second)
    point_at(at, first)
    with pytest.raises(PublishConflict, match=first):
        publish(at, at.staging / staged.gen_id, staged)
    assert current_id(at) == first


def test_only_one_of_many_takes_over_the_lease_of_a_dead_run(home: Home, source: Repo) -> None:
    at = home.repository(NAME)
    lease.acquire(at, "dead", lambda _: False)
    runs = [str(uuid.uuid4()) for _ in range(4)]
    results = at_once(*[lambda run=run: lease.acquire(at, run, lambda other: other == "dead") for run in runs])
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, BuildInProgress) for result in results) == 3


def _staged_copy(home: Home, parent: Manifest) -> Manifest:
    """The files of a generation staged again as a child of it."""
    at = home.repository(NAME)
    gen_id = identity.new_gen_id(parent.created_at, parent.commit)
    at.staging.mkdir(exist_ok=True)
    shutil.copytree(at.generation(parent.gen_id), at.staging / gen_id)
    return parent.model_copy(update={"gen_id": gen_id, "parent": parent.gen_id})
