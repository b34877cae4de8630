"""Starting: the help of the command line, the server on a built home, and the first query that it answers."""

from __future__ import annotations

import os
import statistics
import time

import httpx

from benchmarks import servers
from benchmarks.queries import questions
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace

_HELPS, _STARTS = 7, 5
_GOAL_HELP_S, _GOAL_READY_S, _GOAL_MB = 0.3, 5.0, 800.0


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    help_s = statistics.median(_help_cpu_s(at) for _ in range(_HELPS))
    yield Row("startup", "codeintel --help, CPU", help_s, "s", f"goal {_GOAL_HELP_S:g}", _GOAL_HELP_S / help_s)
    ready_s, cold_s, memory_mb = [], [], []
    for query in questions(at)[:_STARTS]:
        started = time.perf_counter()
        with servers.ours(at) as server:
            ready_s.append(time.perf_counter() - started)
            memory_mb.append(server.memory_mb())
            url = f"http://127.0.0.1:{server.port}/search"
            started = time.perf_counter()
            httpx.post(url, json={"query": query}, timeout=60).raise_for_status()
            cold_s.append(time.perf_counter() - started)
    ready, resident = statistics.median(ready_s), statistics.median(memory_mb)
    note = f"median of {_STARTS} starts"
    yield Row("startup", "codeintel serve, ready", ready, "s", f"goal {_GOAL_READY_S:g}", _GOAL_READY_S / ready, note)
    yield Row("startup", "memory (RSS) when ready", resident, "MiB", f"goal {_GOAL_MB:g}", _GOAL_MB / resident)
    p50, most = percentiles(cold_s, (50, 100))
    yield Row("startup", "first query over HTTP", p50, "ms", note=f"the slowest of {_STARTS}: {most:.0f} ms")


def _help_cpu_s(at: Workplace) -> float:
    process = at.codeintel("--help")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit("codeintel --help failed")
    return usage.ru_utime + usage.ru_stime
