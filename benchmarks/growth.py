"""Growth of a repository, 1k to 1M chunks: its first build, a build of 20 changed chunks, and a server on the result.

What a change costs should grow with the change and not with the repository. Vectors come from the fake encoder
(embedding 20 chunks costs the same everywhere, and a first build of 100k chunks would take hours); every other stage
and the server are real.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import fake_encoder, machine, plain_build, servers
from benchmarks.queries import questions
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import NAME, Workplace, run_git
from codeintel_core.repository import mirror

_CHANGED = 20
_PER_FILE = 10
_ROUNDS = 3
_QUERIES, _WARM = 60, 10


@dataclass(frozen=True, slots=True)
class _Grown:
    """What a repository of some size cost."""

    chunks: int
    first: plain_build.Cost
    peak_mb: float  # of the process that built it, until the end of the first build
    changed: plain_build.Cost  # the middle round
    disk_mb: float


def measure(at: Workplace) -> Rows:
    """Rows for each size; what changes cost is compared with the smallest size."""
    smallest: _Grown | None = None
    at.home.models.mkdir(exist_ok=True)  # the first server exports the model into it, where nobody did before
    for size in (1_000, *at.sizes):
        folder = at.folder / f"growth-{size}"
        folder.mkdir()
        place = Workplace(folder, folder / "source", NAME, ())
        (place.home.root / "models").symlink_to(at.home.models.resolve())
        grown = machine.apart(_grown, place, size)
        smallest = smallest or grown
        what = f"{grown.chunks:,} chunks"
        for kind, seconds, least in (
            ("", grown.changed.total_s, smallest.changed.total_s),
            (", CPU", grown.changed.cpu_s, smallest.changed.cpu_s),
        ):
            note = "" if kind else f"fake encoder; {_stages(grown.changed)}"
            yield Row(
                "growth", f"{what}, {_CHANGED} of them changed{kind}", seconds, "s", f"smallest: {least:.2f}",
                least / seconds, note,
            )  # fmt: skip
        yield Row("growth", f"{what}, first build", grown.first.total_s, "s", note=_stages(grown.first))
        yield Row("growth", f"{what}, first build, peak memory (RSS)", grown.peak_mb, "MiB")
        yield Row("growth", f"{what}, on disk", grown.disk_mb, "MB", note="without the copy of the repository")
        yield from _served(place, what)


def _grown(at: Workplace, size: int) -> _Grown:
    source = at.repo
    for number in range(size // _PER_FILE):
        _write(source, number, 0)
    run_git(at.folder, "init", "--quiet", "--initial-branch=main", str(source))
    run_git(source, "config", "user.name", "bench")
    run_git(source, "config", "user.email", "bench@example.org")
    _commit(source)
    mirror.add(at.home, str(source), name=NAME)
    settings = at.settings.model_copy(update={"lexical_first_texts": 10**9})  # all vectors at once: nothing is pending
    changed = []
    with fake_encoder.used_by_builds():
        first = plain_build.Cost()
        manifest = plain_build.build(at.home, settings, NAME, cost=first)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        generation = at.home.repository(NAME).generation(manifest.gen_id)
        disk_mb = sum(path.stat().st_size for path in generation.rglob("*") if path.is_file()) / 1e6
        for turn in range(1, _ROUNDS + 1):
            for number in range(_CHANGED):
                _write(source, number * 7 % (size // _PER_FILE), turn)
            _commit(source)
            cost = plain_build.Cost()
            manifest = plain_build.build(at.home, settings, NAME, cost=cost)
            changed.append(cost)
    middle = sorted(changed, key=lambda cost: cost.total_s)[_ROUNDS // 2]
    return _Grown(manifest.counts.chunks, first, peak_mb, middle, disk_mb)


def _served(at: Workplace, what: str) -> Rows:
    """A server on the home: until it is ready, what a hybrid search takes, and its memory afterwards."""
    started = time.perf_counter()
    with servers.ours(at) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        yield Row("growth", f"{what}, serve ready", time.perf_counter() - started, "s")
        p50, p95 = percentiles(list(_search_s(http, questions(at)[: _QUERIES + _WARM]))[_WARM:], (50, 95))
        note = f"p95 {p95:.1f} ms, over HTTP, {_QUERIES} distinct queries after {_WARM} others"
        yield Row("growth", f"{what}, hybrid search, p50", p50, "ms", note=note)
        yield Row("growth", f"{what}, memory (RSS) of the server", server.memory_mb(), "MiB")


def _search_s(http: httpx.Client, queries: list[str]) -> Iterator[float]:
    for query in queries:
        started = time.perf_counter()
        http.post("/search", json={"query": query}).raise_for_status()
        yield time.perf_counter() - started


def _stages(cost: plain_build.Cost) -> str:
    return ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in cost.seconds.items())


def _write(source: Path, number: int, turn: int) -> None:
    """A file of ten functions, of which the first depends on the turn."""
    functions = [
        f"def handle_{number}_{place}(request, limit={turn if place == 0 else 0}):\n"
        f'    """Handle request kind {place} of part {number} and return its rows."""\n'
        + "".join(f"    value_{line} = request.field_{(number + line) % 97} + {place * line}\n" for line in range(12))
        + "    return [value_0, value_1, value_2]\n"
        for place in range(_PER_FILE)
    ]
    path = source / f"part{number // 100}" / f"m{number}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(functions))


def _commit(source: Path) -> None:
    run_git(source, "add", "--all")
    run_git(source, "commit", "--quiet", "--message=bench")
