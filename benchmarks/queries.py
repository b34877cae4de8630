"""Queries on the built repository: in process and over HTTP against a real server in its own process; memory.

The queries are names, docstrings and paths of the repository itself, each asked once: no result comes from a cache.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from benchmarks import machine
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import NAME, Workplace
from codeintel_core.catalog import Catalog
from codeintel_core.generations.publish import current_id
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.ports import free_port

_QUERIES, _WARM = 150, 10
_THREADS = 8


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    asked = questions(at)
    for mode in ("hybrid", "lexical", "semantic"):
        with Services(at.settings) as services:
            services.warm()

            def ask(query: str, services: Services = services, mode: str = mode) -> None:
                services.search(SearchRequest.model_validate({"query": query, "mode": mode}), Caller("rest"))

            yield from _latency("query in process", mode, ask, asked)
            if mode == "hybrid":
                yield _throughput("query in process", ask, asked)
    yield from _over_http(at, asked)


def _over_http(at: Workplace, asked: list[str]) -> Rows:
    port = free_port()
    started = time.perf_counter()
    server = at.codeintel("serve", "--port", str(port))
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            while not _is_ready(http):
                if server.poll() is not None or time.perf_counter() - started > 120:
                    raise SystemExit("the server did not start")
                time.sleep(0.05)
            ready_s = time.perf_counter() - started
            yield Row("server", "start to ready", ready_s, "s", "goal 5", 5 / ready_s)
            yield Row("server", "memory (RSS) when ready", machine.memory_mb(server.pid)[0], "MiB")

            def ask(query: str) -> None:
                http.post("/search", json={"query": query}).raise_for_status()

            yield from _latency("query over HTTP", "hybrid", ask, asked)
            yield _throughput("query over HTTP", ask, asked)
            now, peak = machine.memory_mb(server.pid)
            yield Row("server", "memory (RSS) after the queries", now, "MiB", note=f"peak {peak:.0f}")
    finally:
        server.terminate()
        server.wait(30)


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _latency(subject: str, mode: str, ask: Callable[[str], None], asked: list[str]) -> Rows:
    seconds = []
    for query in asked:
        started = time.perf_counter()
        ask(query)
        seconds.append(time.perf_counter() - started)
    p50, p95 = percentiles(seconds[_WARM:])
    goal = ("goal 10", 10 / p50, "goal 20", 20 / p95) if mode == "hybrid" else ("", None, "", None)
    yield Row(subject, f"{mode}, p50", p50, "ms", goal[0], goal[1], f"{len(seconds) - _WARM} distinct queries")
    yield Row(subject, f"{mode}, p95", p95, "ms", goal[2], goal[3])


def _throughput(subject: str, ask: Callable[[str], None], asked: list[str]) -> Row:
    started = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(ask, [f"{query} again" for query in asked]))
    rate = len(asked) / (time.perf_counter() - started)
    return Row(subject, f"hybrid, {_THREADS} threads", rate, "queries/s", "goal 200", rate / 200)


def questions(at: Workplace) -> list[str]:
    """Distinct queries about the built repository."""
    repository = at.home.repository(NAME)
    catalog = Catalog(repository.generation(str(current_id(repository))) / "catalog.duckdb")
    try:
        chunks = catalog.sample_definitions(_QUERIES)
    finally:
        catalog.close()
    chance = random.Random(5)
    kinds: list[Callable[[int], str]] = [
        lambda i: chunks[i].name,
        lambda i: " ".join(chunks[i].docstring.split()[:12]) or f"what does {chunks[i].name} do",
        lambda i: f"{chunks[i].path.rsplit('/', 1)[-1]} {chunks[i].name}",
    ]
    found = dict.fromkeys(kinds[i % len(kinds)](i) for i in range(len(chunks)))
    words = sorted({word for chunk in chunks for word in np.unique(chunk.text.split()[:40]).tolist() if word.isalpha()})
    while len(found) < _QUERIES + _WARM:
        found[" ".join(chance.sample(words, 4))] = None
    return list(found)
