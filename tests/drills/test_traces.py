"""Drill 16: two workers answer and are killed at random; what they acknowledged is what analysts find, once each.

`DRILL_CYCLES` sets the number of acknowledged requests (1,000 for the full drill).
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from benchmarks import plain_build
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.traces import journal, tables
from tests.conftest import GitRepo
from tests.drills.conftest import cycles, module, settings_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1_200)]

_ROOT = Path(__file__).parents[2]
_WORKER = """
import sys
from pathlib import Path
from benchmarks.fake_encoder import FakeEncoder
from codeintel_core.home import Home
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.drills.conftest import settings_for
with Services(settings_for(Home(Path(sys.argv[1])), result_cache=0), encoder=FakeEncoder) as services:
    number = 0
    while True:
        number += 1
        request = SearchRequest(query=f"compute total {number}", mode="semantic")
        print(services.search(request, Caller("rest")).run_id, flush=True)
"""


class Worker:
    """A process that searches until it is killed, and what it acknowledged."""

    def __init__(self, home: Home) -> None:
        run = [sys.executable, "-c", _WORKER, str(home.root)]
        self._process = subprocess.Popen(run, stdout=subprocess.PIPE, text=True, cwd=_ROOT)

    def acknowledged(self, most: int) -> list[str]:
        """The next `most` run ids."""
        assert self._process.stdout is not None
        return [self._process.stdout.readline().strip() for _ in range(most)]

    def kill(self) -> list[str]:
        """SIGKILL; returns what was acknowledged since."""
        self._process.kill()
        assert self._process.stdout is not None
        rest = self._process.stdout.read().split("\n")[:-1]  # a torn last line was not acknowledged
        self._process.wait()
        return rest


@pytest.mark.usefixtures("_fake_encoder")
def test_every_acknowledged_request_is_stored_once(home: Home, git_repo: GitRepo) -> None:
    wanted, chance = cycles(300), random.Random(16)
    source = git_repo({f"m{i}.py": module(i) for i in range(8)}, name="source")
    mirror.add(home, str(source.path), name="source")
    plain_build.build(home, settings_for(home), "source")
    first_day = datetime.now(UTC)
    acknowledged: list[str] = []
    kills, workers = 0, [Worker(home), Worker(home)]
    try:
        while len(acknowledged) < wanted:
            at = chance.randrange(2)
            acknowledged += workers[at].acknowledged(chance.randrange(1, max(2, wanted // 5)))
            acknowledged += workers[at].kill()
            kills += 1
            workers[at] = Worker(home)
            if kills == 2:  # analysts refresh while workers write and die
                tables.compact(tables.traces(home), f"{first_day:%Y-%m-%d}")
    finally:
        for worker in workers:
            acknowledged += worker.kill()
            kills += 1
    table = tables.traces(home)
    done = [tables.compact(table, day) for day in journal.days(table.journals)]
    assert sum(one.lost for one in done) == 0
    stored = Counter(run for path in table.files() for run in _run_ids(path))
    assert not set(acknowledged) - set(stored), "every acknowledged request is there"
    assert set(stored.values()) == {1}, "and only once"
    assert len(stored) - len(acknowledged) <= kills, "a kill may fall between the row and its acknowledgement"
    print(f"{len(acknowledged)} acknowledged, {len(stored)} stored, {kills} kills")


def _run_ids(path: Path) -> list[str]:
    import pyarrow.parquet as pq

    ids: list[str] = pq.read_table(path, columns=["run_id"])["run_id"].to_pylist()
    return ids
