"""Drill 4: generations are published while eight clients search through the real `Services`.

No search fails, every response comes from exactly one generation, and what old generations held open (files, maps)
is given back. `DRILL_CYCLES` sets the number of swaps.
"""

from __future__ import annotations

import gc
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fake_encoder, plain_build
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.conftest import GitRepo
from tests.drills.conftest import cycles, settings_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3_600)]

NAME = "swapped"
CLIENTS = 8
FILES = 12
_MARK = re.compile(r"swap_(\d+)")


def marked(swap: int) -> dict[str, str]:
    """Files whose every chunk says which commit it is of."""
    return {
        f"src/part{i}.py": (
            f'def gather_part_{i}_swap_{swap}(rows):\n    """Gather the rows of part {i} in swap_{swap}."""\n'
            + "".join(f"    rows = [row for row in rows if row != {n}]  # swap_{swap}\n" for n in range(6))
            + "    return rows\n"
        )
        for i in range(FILES)
    }


class Client(threading.Thread):
    """Searches until told to stop; keeps what was wrong and which generations answered."""

    def __init__(self, services: Services, number: int, stop: threading.Event, swap_of: dict[str, int]) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._services, self._number, self._stop_event, self._swap_of = services, number, stop, swap_of
        self.errors: list[str] = []
        self.answered: Counter[str] = Counter()
        self.latest = ""

    def run(self) -> None:
        asked = 0
        while not self._stop_event.wait(0.005):  # the build shares two cores, the JVM and the GIL with eight clients
            try:
                self._search(f"gather the rows of part {(asked + self._number) % FILES}")
            except Exception as error:  # whatever a client would have seen
                self.errors.append(f"{type(error).__name__}: {error}")
            asked += 1

    def _search(self, query: str) -> None:
        response = self._services.search(SearchRequest(query=query, limit=8), Caller("rest"))
        (entry,) = response.index
        self.latest = str(entry.generation)
        self.answered[self.latest] += 1
        expected = self._swap_of[entry.commit]
        swaps = {int(n) for hit in response.results for n in _MARK.findall(hit.snippet)}
        if not response.results:
            self.errors.append("an empty answer")
        elif swaps != {expected}:
            self.errors.append(f"{self.latest} is swap {expected}, the results are of {sorted(swaps)}")
        if entry.status == "degraded":  # `behind` is right while a commit waits for its build
            self.errors.append(f"degraded: {response.warnings}")


def held(generations: Path) -> Counter[str]:
    """How often each generation's files are open or mapped in this process."""
    paths = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            paths.append(str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
    paths += [line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()]
    prefix = f"{generations.resolve()}/"
    return Counter(path.removeprefix(prefix).split("/")[0] for path in paths if path.startswith(prefix))


def rss_mb() -> float:
    """Resident memory of this process, in MiB."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1024


def until(is_true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_searches_go_on_while_generations_are_swapped(home: Home, git_repo: GitRepo) -> None:
    source = git_repo(marked(0), name=NAME)
    mirror.add(home, str(source.path), name=NAME)
    settings = settings_for(home, inline_rebuild_ratio=4.0)  # most generations link the primary, some do not
    at = home.repository(NAME)
    swap_of = {source.git("rev-parse", "HEAD"): 0}  # by commit: clients see a generation before its build returns

    def publish() -> str:
        with fake_encoder.used_by_builds():
            return plain_build.build(home, settings, NAME).gen_id

    newest = publish()
    with Services(settings, encoder=fake_encoder.FakeEncoder) as services:
        services.start()
        stop = threading.Event()
        clients = [Client(services, number, stop, swap_of) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        before = rss_mb()
        for swap in range(1, (wanted := cycles(10)) + 1):
            source.write(marked(swap))
            swap_of[source.commit()] = swap
            newest = publish()
            until(lambda: clients[0].latest == newest)  # noqa: B023 (polled before the next turn)
        stop.set()
        for client in clients:
            client.join(60)
        errors = [error for client in clients for error in client.errors]
        answered = sum((client.answered for client in clients), Counter())
        assert not errors, f"{len(errors)} errors, first: {errors[:3]}"
        assert len(answered) >= wanted
        gc.collect()
        until(lambda: set(held(at.generations)) <= {newest})
        after = rss_mb()
    print(f"{wanted} swaps, {answered.total()} searches over {len(answered)} generations, 0 errors, "
          f"{before:.0f} -> {after:.0f} MiB")  # fmt: skip
    gc.collect()
    until(lambda: not held(at.generations))
