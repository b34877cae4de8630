"""One server over 500 small repositories: ready when, memory, open files, and searches of one, of a group and of all.

The repositories are slices of this project's own files (see `small_repositories`), the queries are embedded by the real
model. Memory is proportional (PSS): pages that several processes map are counted once in all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import httpx

from benchmarks import machine, servers, small_repositories
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core.home import Home

_REPOSITORIES = 500
_FEW_OPEN = 100
_QUERIES = (
    "how is a generation published atomically", "where are torn lines of the ledger handled", "glob_to_regex",
    "what does `ChannelPools` do when a channel hangs", "GenerationCorrupt: manifest.json is damaged",
    "codeintel_core/scope.py", "how are chunks embedded", "retry when the parent changed", "parse the shebang",
    "which files are skipped",
)  # fmt: skip
_SCOPES: Mapping[str, dict[str, Any]] = {
    "one": {"repos": ["r003"]},
    "a group of 50": {"groups": ["g3"]},
    "all": {},
    "all, tests left out": {"include_tests": False},
}
_ROUNDS = 3
_GOAL_MS, _READY_S = 150, 5
_OPEN_WITHIN_S = 300


def measure(at: Workplace) -> Rows:
    """Publishes a home of its own first, which takes some minutes."""
    place = _place(at)
    before = time.process_time()
    chunks = small_repositories.published(place.home, place.folder / "many-sources", _REPOSITORIES)
    note = f"{chunks:,} chunks, published in {time.process_time() - before:.0f} CPU s"
    started = time.perf_counter()
    with servers.ours(place, open_generations=1_000) as server:
        ready_s = time.perf_counter() - started
        found = _readiness(server)
        yield _row("start to ready", ready_s, "s", f"goal {_READY_S}", _READY_S / ready_s, note)
        yield _row("open when ready", float(found["open"]), "repositories", note="the rest opens in the background")
        empty, open_before = machine.proportional_mb(server.process.pid), max(1, found["open"])
        yield _row("start to all open", _all_open(server, started), "s")
        yield from _latencies(server)
        pss, private = machine.proportional_mb(server.process.pid)
        files, threads = (len(os.listdir(f"/proc/{server.process.pid}/{kind}")) for kind in ("fd", "task"))
        yield _row("memory after the searches, all open", pss, "MiB PSS", note=f"private {private:.0f}")
        each = (pss - empty[0]) / (_REPOSITORIES - open_before) * 1024
        yield _row("memory of one more repository", each, "KiB PSS", note=f"{chunks // _REPOSITORIES} chunks each")
        yield _row("open files and threads, all open", float(files), "files", note=f"{threads} threads")
    with servers.ours(place, open_generations=_FEW_OPEN) as server:
        yield from _few_open(server)
    with servers.ours(place, workers=2) as two:
        _all_open(two, time.perf_counter())
        for number in range(20):  # both workers
            with httpx.Client(base_url=f"http://127.0.0.1:{two.port}", timeout=60) as http:
                _ask(http, f"{_QUERIES[number % len(_QUERIES)]} {number} two", {})
        both = sum(machine.proportional_mb(pid)[0] for pid in two.processes()[1:])
        yield _row("memory of two workers", both, "MiB PSS", f"one: {pss:.0f}", both / pss, "pages of indexes shared")


def _place(at: Workplace) -> Workplace:
    folder = at.folder / "many"
    (folder / "many-sources").mkdir(parents=True)
    place = replace(at, folder=folder)
    if (models := at.home.models).exists():
        Home(place.home.root).models.symlink_to(models.resolve())
    return place


def _latencies(server: servers.Running) -> Rows:
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        for name, scope in _SCOPES.items():
            first = _timed(http, "the first of its kind", scope)[0]
            cpu, taken, size = server.cpu_s(), [], 0
            for turn in range(_ROUNDS):
                for query in _QUERIES:
                    seconds, reply = _timed(http, f"{query} {turn}", scope)
                    assert not reply.json()["coverage"]["left_out"]
                    taken.append(seconds)
                    size = len(reply.content)
            p50, p95 = percentiles(taken)
            used = (server.cpu_s() - cpu) / len(taken) * 1000
            note = f"p95 {p95:.0f} ms, CPU {used:.0f} ms, first {first * 1000:.0f} ms, {size / 1000:.0f} kB"
            yield _row(f"search of {name}, p50", p50, "ms", f"goal {_GOAL_MS}", _GOAL_MS / p50, note)


def _few_open(server: servers.Running) -> Rows:
    """A bound below the number of repositories: what a search of all leaves out, and what going round costs."""
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:
        seconds, reply = _timed(http, "which files are skipped", {})
        left = len(reply.json()["coverage"]["left_out"])
        what = f"{_FEW_OPEN} may be open: left out of a search of all, named"
        yield _row(what, float(left), "repositories", note=f"{seconds * 1000:.0f} ms")
        taken = [
            _timed(http, f"parse the shebang {number}", {"repos": [f"r{number:03}"]})[0]
            for number in range(_FEW_OPEN, 3 * _FEW_OPEN)
        ]
        p50, p95 = percentiles(taken)
        yield _row(f"{_FEW_OPEN} may be open: search of a closed one, p50", p50, "ms", note=f"p95 {p95:.0f} ms")
        pss = machine.proportional_mb(server.process.pid)[0]
        yield _row(f"{_FEW_OPEN} may be open: memory", pss, "MiB PSS", note=f"{_readiness(server)['open']} open")


def _timed(http: httpx.Client, query: str, scope: dict[str, Any]) -> tuple[float, httpx.Response]:
    started = time.perf_counter()
    reply = _ask(http, query, scope)
    return time.perf_counter() - started, reply


def _ask(http: httpx.Client, query: str, scope: dict[str, Any]) -> httpx.Response:
    return http.post("/search", json={"query": query, "scope": scope}).raise_for_status()


def _readiness(server: servers.Running) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{server.port}/readyz", timeout=60).json()
    return found


def _all_open(server: servers.Running, started: float) -> float:
    while _readiness(server)["open"] < _REPOSITORIES:
        if time.perf_counter() - started > _OPEN_WITHIN_S:
            raise SystemExit("not all repositories were opened")
        time.sleep(0.5)
    return time.perf_counter() - started


def _row(measure: str, value: float, unit: str, peer: str = "", ratio: float | None = None, note: str = "") -> Row:
    return Row("many repositories", measure, value, unit, peer, ratio, note)
