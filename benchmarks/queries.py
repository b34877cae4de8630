"""Queries on the built repository: in process and over HTTP against a real server in its own process; memory.

The queries are names, docstrings and paths of the repository itself. Warm means that each is asked once of a process
that has answered others; cached, that it was asked before. What the first one of a process costs is in `startup`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from benchmarks import servers
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import NAME, Workplace
from codeintel_core.catalog import Catalog
from codeintel_core.generations.publish import current_id
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services

_QUERIES, _WARM = 150, 10
_THREADS = 8
_PERCENTS = (50, 95, 99)
_GOALS_MS = {"hybrid, warm, p50": 10.0, "hybrid, warm, p95": 20.0}


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    asked = questions(at)
    # A query that would be cut off on a busy machine is measured to its end.
    settings = at.settings.model_copy(update={"retrieval_budget_ms": 30_000})
    for mode in ("hybrid", "lexical", "semantic"):
        with Services(settings) as services:
            services.start()

            def ask(query: str, services: Services = services, mode: str = mode) -> None:
                services.search(SearchRequest.model_validate({"query": query, "mode": mode}), Caller("rest"))

            yield from _latency("in process", f"{mode}, warm", ask, asked)
            if mode == "hybrid":
                yield from _latency("in process", "hybrid, cached", ask, asked)
                yield _throughput("in process", ask, asked)
    with servers.ours(at) as server, httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as http:

        def post(query: str) -> None:
            http.post("/search", json={"query": query}).raise_for_status()

        yield from _latency("over HTTP", "hybrid, warm", post, asked)
        yield from _latency("over HTTP", "hybrid, cached", post, asked)
        yield _throughput("over HTTP", post, asked)
        yield Row("query over HTTP", "memory (RSS) after the queries", server.memory_mb(), "MiB")


def _latency(where: str, what: str, ask: Callable[[str], None], asked: list[str]) -> Rows:
    seconds = []
    for query in asked:
        started = time.perf_counter()
        ask(query)
        seconds.append(time.perf_counter() - started)
    for percent, found in zip(_PERCENTS, percentiles(seconds[_WARM:], _PERCENTS), strict=True):
        measure = f"{what}, p{percent}"
        goal = _GOALS_MS.get(measure)
        beside, ratio = (f"goal {goal:g}", goal / found) if goal else ("", None)
        yield Row(
            f"query {where}", measure, found, "ms", beside, ratio, line=f"{where}: {what}", column=f"p{percent}, ms"
        )


def _throughput(where: str, ask: Callable[[str], None], asked: list[str]) -> Row:
    started = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(ask, [f"{query} again" for query in asked]))
    rate = len(asked) / (time.perf_counter() - started)
    measure = f"hybrid, warm, {_THREADS} threads"
    return Row(f"query {where}", measure, rate, "queries/s", "goal 200", rate / 200)


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
