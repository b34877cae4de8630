"""The server under load: searches and answers, cached and not, beside a bare FastAPI endpoint in the same run.

The client is a process of its own (`load_client`). CPU is what all processes of the server used per request: unlike the
rate, it does not depend on who else uses the machine.
"""

from __future__ import annotations

import httpx

from benchmarks import servers
from benchmarks.queries import questions
from benchmarks.rows import Row, Rows, shown
from benchmarks.workplace import Workplace

_SECONDS = 4.0
_CONNECTIONS = (1, 8, 64)
_CACHED = 32
_DISTINCT = 20_000  # more than are answered in a cell
_SLOTS = 64  # as many as clients: shedding is the subject of `overload`
_FIELD = {"/search": "query", "/answer": "question"}


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    asked = questions(at)
    peers: dict[tuple[int, int], servers.Load] = {}
    size = _reply_bytes(at, asked[0])
    for workers in (1, 2):
        with servers.bare(size, workers) as peer:
            for connections in _CONNECTIONS:
                found = peer.load("/search", [{"query": asked[0]}], connections, _SECONDS)
                peers[workers, connections] = found
                yield from _rows(f"bare FastAPI, {size:,} bytes", workers, connections, found, None)
        with servers.ours(at, workers, concurrent_searches=_SLOTS, concurrent_answers=_SLOTS) as server:
            for path, field in _FIELD.items():
                same: list[dict[str, object]] = [{field: query} for query in asked[:_CACHED]]
                for connections in _CONNECTIONS:
                    server.load(path, same, connections, 1)  # into the caches of every worker
                    found = server.load(path, same, connections, _SECONDS)
                    yield from _rows(f"{path}, cached", workers, connections, found, peers[workers, connections])
                for connections in _CONNECTIONS:
                    found = server.load(path, distinct(asked, field, f"{workers} {connections}"), connections, _SECONDS)
                    yield from _rows(f"{path}, uncached", workers, connections, found, peers[workers, connections])


def _rows(what: str, workers: int, connections: int, found: servers.Load, peer: servers.Load | None) -> Rows:
    line = f"{what}, {workers} worker{'s' * (workers > 1)}"
    name, client = f"{line}, {connections} clients", f"the client used {found['client_cpu']:.0%} of a core"
    if found["failed"] or found["shed"]:
        client += f"; {found['failed']:.0f} failed, {found['shed']:.0f} shed"
    cells = (("requests/s", _rate, 1), ("p95, ms", _p95_ms, -1), ("CPU, ms", _cpu_ms, -1))
    for unit, of, sign in cells:
        value = of(found)
        beside, ratio = "", None
        if peer is not None:
            beside, ratio = f"bare {shown(of(peer))}", (value / max(of(peer), 1e-9)) ** sign
        column = f"{unit}, {' / '.join(map(str, _CONNECTIONS))} clients"
        yield Row("serving", f"{name}, {unit}", value, "", beside, ratio, client, line, column)
    if peer is not None and (what, workers, connections) == ("/search, cached", 1, 1):
        beyond = max(1.0, found.cpu_us - peer.cpu_us)
        yield Row("serving", "cached search beyond the bare endpoint, CPU", beyond, "us", "goal 150", 150 / beyond)


def _rate(load: servers.Load) -> float:
    return load["per_s"]


def _p95_ms(load: servers.Load) -> float:
    return load["ok_p95_ms"]


def _cpu_ms(load: servers.Load) -> float:
    return load.cpu_us / 1000


def distinct(asked: list[str], field: str, salt: str) -> list[dict[str, object]]:
    """Questions nobody asked: a salt and a number more in each."""
    return [{field: f"{asked[number % len(asked)]} {salt} {number}"} for number in range(_DISTINCT)]


def _reply_bytes(at: Workplace, query: str) -> int:
    with servers.ours(at) as server:
        answer = httpx.post(f"http://127.0.0.1:{server.port}/search", json={"query": query}, timeout=60)
        return len(answer.raise_for_status().content)
