"""What two workers sustain of a realistic mix, what a burst does to them, and the same with the caches off.

The requests: of every 20, 14 searches, 2 reads, 1 each of symbols, grep, tree and, every other time, an answer. Of the
searches one in twenty is new; the others are questions about real definitions of the repository, asked as often as
Zipf's law says. They come when they are due (`open_client`), so that waiting is counted.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import orjson

from benchmarks import servers
from benchmarks.rows import Row, Rows
from benchmarks.servers import Running
from benchmarks.workplace import NAME, Workplace
from codeintel_core.catalog import Catalog, ChunkRow
from codeintel_core.generations.publish import current_id
from codeintel_core.traces import journal

_WORKERS, _CONNECTIONS = 2, 256
_RATES = (100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1200, 1400, 1700, 2000, 2500, 3000)
_STEP_S, _WARM_RATE, _WARM_S = 6.0, 150, 60.0
_MOST_P95_MS, _GOAL = 200.0, 1000.0
_BURST, _BURST_S, _AROUND_S = 5, 10.0, 8.0
_DEFINITIONS, _REQUESTS, _ZIPF, _NEW = 2_000, 100_000, 1.1, 0.05
_RESULTS = 4_096
_MIX = {"/search": 28, "/read": 4, "/symbols": 3, "/grep": 2, "/tree": 2, "/answer": 1}
_HITS = re.compile(r'^codeintel_cache_requests_total\{cache="(\w+)",result="(\w+)"[^}]*\} (\S+)', re.MULTILINE)

Request = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Step:
    """What one phase of a client saw, and what the server needed for it."""

    seen: dict[str, Any]
    cpu_us: float
    hit_rate: float

    @property
    def holds(self) -> bool:
        """Whether everything was answered in time."""
        return bool(self.seen["p95_ms"] <= _MOST_P95_MS and self.seen["ok"] == self.seen["due"])

    def note(self) -> str:
        """The rest, in words."""
        seen = self.seen
        failed = ", ".join(f"{count} {what}" for what, count in seen["failed"].items()) or "none failed"
        return (
            f"p50 {seen['p50_ms']:.1f}, p99 {seen['p99_ms']:.0f} ms, CPU {self.cpu_us / 1000:.2f} ms, "
            f"results from the cache {self.hit_rate:.0%}, {seen['shed']} shed, {seen['lost']} lost, {failed}"
        )


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    chunks = _definitions(at)
    with _serving(at, result_cache=_RESULTS) as server:
        requests = mix(chunks, "cached")
        _ask(server, requests, [(_WARM_RATE, _WARM_S)])  # what is asked often is known to both workers then
        best, rows = _knee(server, requests, "caches on")
        yield from rows
        yield Row("load", "sustained, caches on", best, "requests/s", f"goal {_GOAL:g}", best / _GOAL,
                  f"{_WORKERS} workers, p95 below {_MOST_P95_MS:g} ms")  # fmt: skip
        yield from _burst(at, server, mix(chunks, "burst"), max(best, _RATES[0]))
    with _serving(at, result_cache=0, query_vector_cache=0) as server:
        requests = mix(chunks, "uncached")
        _ask(server, requests, [(_RATES[0] / 2, _WARM_S / 10)])
        off, rows = _knee(server, requests, "caches off")
        yield from rows
        yield Row("load", "sustained, caches off", off, "requests/s", f"caches on {best:g}", off / max(best, 1.0))


def mix(chunks: Sequence[ChunkRow], salt: str) -> list[Request]:
    """Path and body of each request, in their order; the same for the same salt."""
    chance = random.Random(salt)
    asked = [text for chunk in chunks for text in _questions(chunk)]
    chance.shuffle(asked)
    often = np.cumsum(1 / np.arange(1, len(asked) + 1) ** _ZIPF)
    places = np.searchsorted(often / often[-1], np.random.default_rng(len(salt)).random(_REQUESTS))
    made = []
    for number, path in enumerate(chance.choices(list(_MIX), list(_MIX.values()), k=_REQUESTS)):
        chunk, question = chance.choice(chunks), asked[places[number]]
        if path == "/search" and chance.random() < _NEW:
            question = f"{question} {salt} {number}"
        body = {
            "/search": {"query": question},
            "/answer": {"question": question},
            "/read": {"targets": [f"{chunk.path}:{chunk.start_line}-{chunk.end_line}"]},
            "/symbols": {"name": chunk.name},
            "/grep": {"pattern": chunk.name},
            "/tree": {"path": chunk.path.rpartition("/")[0]},
        }[path]
        made.append((path, json.dumps(body)))
    return made


def _definitions(at: Workplace) -> list[ChunkRow]:
    repository = at.home.repository(NAME)
    catalog = Catalog(repository.generation(str(current_id(repository))) / "catalog.duckdb")
    try:
        return catalog.sample_definitions(_DEFINITIONS)
    finally:
        catalog.close()


def _questions(chunk: ChunkRow) -> Iterator[str]:
    yield chunk.name
    if said := " ".join(chunk.docstring.split()[:12]):
        yield said


@contextmanager
def _serving(at: Workplace, **settings: object) -> Iterator[Running]:
    with servers.ours(at, _WORKERS, **settings) as server:
        yield server


def _knee(server: Running, requests: list[Request], what: str) -> tuple[float, list[Row]]:
    """The highest rate that holds, going up until one does not."""
    best, rows = 0.0, []
    for rate in _RATES:
        (found,) = _ask(server, requests, [(rate, _STEP_S)])
        rows.append(Row("load", f"{what}, {rate}/s", found.seen["p95_ms"], "ms p95", f"bound {_MOST_P95_MS:g}",
                        _MOST_P95_MS / found.seen["p95_ms"], found.note()))  # fmt: skip
        if not found.holds:
            break
        best = float(rate)
    return best, rows


def _burst(at: Workplace, server: Running, requests: list[Request], sustained: float) -> Rows:
    """Half of what is sustained, five times that for a while, and half again: all in one client."""
    rate = sustained / 2
    before, burst, after, later = _ask(
        server, requests, [(rate, _AROUND_S), (rate * _BURST, _BURST_S), (rate, _AROUND_S), (rate, _AROUND_S)]
    )
    phases = (before, burst, after, later)
    unanswered = sum(sum(one.seen["failed"].values()) + one.seen["lost"] for one in phases)
    about = f"{burst.seen['ok']} answered, p95 {burst.seen['p95_ms']:.0f} ms; {burst.note()}"
    yield Row("load", f"burst of {rate * _BURST:g}/s for {_BURST_S:g} s, neither answered nor told when to come back",
              float(unanswered), "requests", "goal 0", None, about)  # fmt: skip
    stored = _stored(at)
    acknowledged = [run_id for one in phases for run_id in one.seen["run_ids"]]
    missing = sum(run_id not in stored for run_id in acknowledged)
    yield Row("load", "  searches and answers without a trace", float(missing), f"of {len(acknowledged)}", "goal 0")
    yield Row("load", f"  p95 from {_AROUND_S:g} s after the burst on", later.seen["p95_ms"], "ms",
              f"before {before.seen['p95_ms']:.1f}", before.seen["p95_ms"] / later.seen["p95_ms"],
              f"until then {after.seen['p95_ms']:.0f} ms, {after.seen['shed']} shed; "
              f"then {later.seen['shed']}")  # fmt: skip


def _stored(at: Workplace) -> set[str]:
    folder = at.home.trace_journal
    paths = [path for day in journal.days(folder) for path in journal.files(folder, day)]
    return {orjson.loads(line)["run_id"] for path in paths for line in path.read_bytes().splitlines()}


def _ask(server: Running, requests: list[Request], phases: list[tuple[float, float]]) -> list[Step]:
    """Let a client ask at these rates for these seconds; what the server needed is of all phases together."""
    needed = round(sum(rate * seconds for rate, seconds in phases) * 1.1) + 100
    order = {"host": "127.0.0.1", "port": server.port, "requests": _next(requests, needed), "phases": phases,
             "connections": _CONNECTIONS}  # fmt: skip
    cpu_s, lookups = server.cpu_s(), _lookups(server)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.open_client"], input=json.dumps(order).encode(), capture_output=True,
        check=True,
    )  # fmt: skip
    seen = json.loads(done.stdout)["phases"]
    cpu_us = (server.cpu_s() - cpu_s) / max(1, sum(phase["due"] for phase in seen)) * 1e6
    hits, misses = (now - then for now, then in zip(_lookups(server), lookups, strict=True))
    return [Step(phase, cpu_us, hits / max(1.0, hits + misses)) for phase in seen]


def _next(requests: list[Request], count: int) -> list[Request]:
    """The next so many requests; they go to the end, so that what is new stays new as long as there are enough."""
    taken = requests[:count]
    requests[:] = requests[count:] + taken
    return taken


def _lookups(server: Running) -> tuple[float, float]:
    """Results that came from the cache so far (waited for, too), and those that did not."""
    told = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=30).text
    hits = misses = 0.0
    for cache, result, count in _HITS.findall(told):
        if cache == "results":
            hits, misses = (hits, misses + float(count)) if result == "miss" else (hits + float(count), misses)
    return hits, misses
