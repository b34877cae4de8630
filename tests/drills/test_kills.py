"""Drill 1: SIGKILL of a build at armed failpoints and at random moments.

After each kill CURRENT is absent or names a generation that verifies file by file and is no older than the last one
that was acknowledged; a re-run then completes and leaves nothing behind. `DRILL_CYCLES` sets the number of kills.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations import retention
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.repository import mirror
from tests.conftest import GitRepo, Repo
from tests.drills.conftest import cycles, module

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3_600)]

NAME = "killed"
CALM_EVERY = 3  # so that builds also meet what two killed ones left


@contextmanager
def driver(home: Home) -> Iterator[Any]:
    """Orders to the driver and its answers."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.drills.kill_driver", str(home.root), NAME],
        cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None

    def order(**what: Any) -> dict[str, Any]:
        process.stdin.write(json.dumps(what) + "\n")
        process.stdin.flush()
        answer: dict[str, Any] = json.loads(process.stdout.readline())
        return answer

    yield order
    process.stdin.close()
    assert process.wait(60) == 0


def check_home(at: RepositoryHome, acknowledged: str) -> None:
    """CURRENT verifies and is no older than what was acknowledged (ids sort by time)."""
    served = current_id(at)
    assert served is not None or not acknowledged
    assert (served or "") >= acknowledged
    for gen_id in {served, *kept(at)} - {None}:
        folder = at.generation(gen_id)
        manifests.verify(folder, manifests.load(folder))


def check_clean(at: RepositoryHome) -> None:
    """Nothing is left of builds that died."""
    left = [p.name for p in at.root.iterdir()]
    assert not {"staging", "build.lease", "build.tmp", "CURRENT.tmp"} & set(left), left
    assert sorted(p.name for p in at.generations.iterdir()) == kept(at)
    locks = [str(p) for p in at.mirror.rglob("*.lock")]
    assert not locks, locks


def change(source: Repo, number: int) -> str:
    """A commit that adds, changes and removes files."""
    gone = {f"src/m{number - 4}.py": None} if number >= 4 else {}
    return source.commit({f"src/m{number}.py": module(number), "src/hot.py": module(number * 1000), **gone})


@pytest.mark.parametrize("how", ["failpoint", "random"])
def test_a_killed_build_never_costs_a_generation(home: Home, git_repo: GitRepo, how: str) -> None:
    source = git_repo({f"src/base{i}.py": module(500 + i) for i in range(20)}, name=NAME)
    mirror.add(home, str(source.path), name=NAME)
    at = home.repository(NAME)
    chance = random.Random(15)
    killed = 0
    with driver(home) as order:
        calm = order()
        acknowledged, edges = calm["acknowledged"], calm["edges"]
        assert acknowledged
        wanted = cycles(6)
        for number in range(wanted):
            head = change(source, number)
            # Spread over all edges of a build that reuses its parent, or over the seconds of one; some compact.
            fatal = {"edge": number * edges // wanted} if how == "failpoint" else {"after_s": chance.uniform(0, 1.2)}
            fatal |= {"compact": number % 4 == 1}
            done = order(**fatal)
            assert not done["error"]
            killed += done["killed"]
            acknowledged = done["acknowledged"] or acknowledged
            check_home(at, acknowledged)
            if number % CALM_EVERY == CALM_EVERY - 1:
                calm = order()
                assert not calm["error"]
                acknowledged, edges = calm["acknowledged"], max(edges, calm["edges"])
                check_home(at, acknowledged)
                check_clean(at)
                assert manifests.load(at.generation(acknowledged)).commit == head
        assert not order()["error"]
    retention.gc(at, keep_last=1, min_age=timedelta(0))
    assert [p.name for p in at.generations.iterdir()] == [current_id(at)]
    print(f"{how}: {killed} of {wanted} builds killed, {number + 1} commits, {edges} edges")
    assert killed >= wanted // 2
