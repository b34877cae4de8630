"""Too many clients (drill 7): 100 on 8 slots, what that does to everything else, and a burst that passes.

A client that is refused comes back after Retry-After, as it was told. Compared is with the same 8 slots in use and
nobody refused: what 8 answers at a time cost each other on these cores is no matter of shedding.
"""

from __future__ import annotations

from benchmarks import servers
from benchmarks.queries import questions
from benchmarks.rows import Row, Rows
from benchmarks.servers import Running
from benchmarks.serving import distinct
from benchmarks.workplace import Workplace

_SECONDS = 4.0
_CAPACITY, _CLIENTS = 8, 100
_BURST = 5 * _CAPACITY
_BESIDE = ("/search", "/livez", "/metrics")
_GOAL_SHED_MS, _GOAL_SLOWER = 50.0, 1.5


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    asked = questions(at)
    with servers.ours(at, concurrent_answers=_CAPACITY) as server:
        server.load("/answer", distinct(asked, "question", "warm"), _CAPACITY, 1)
        full, beside_full = _crowd(server, asked, _CAPACITY)
        before_mb = server.memory_mb()
        crowd, beside_crowd = _crowd(server, asked, _CLIENTS)
        yield from _shed(full, crowd)
        grown = server.memory_mb() - before_mb
        yield Row("overload", "memory after it", grown, "MiB more", note=f"before {before_mb:.0f}")
        for path in _BESIDE:
            one, other = beside_full[path], beside_crowd[path]
            note = f"{other['shed']:.0f} shed, {other['failed']:.0f} failed"
            yield _slower(f"{path} meanwhile, p95", other, one, note)
        yield from _burst(server, asked)


def _crowd(server: Running, asked: list[str], clients: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """What `clients` who want answers see, and what one client of each other address sees beside them."""
    started = server.client(
        "/answer", distinct(asked, "question", f"crowd {clients}"), clients, _SECONDS, is_polite=True
    )
    searches = distinct(asked, "query", f"beside {clients}")
    beside = {path: server.client(path, searches if path == "/search" else [], 1, _SECONDS) for path in _BESIDE}
    return servers.result(started), {path: servers.result(client) for path, client in beside.items()}


def _shed(full: dict[str, float], crowd: dict[str, float]) -> Rows:
    share = crowd["shed"] / max(1.0, crowd["shed"] + crowd["ok"])
    about = f"{crowd['ok']:.0f} answered, {crowd['failed']:.0f} neither"
    yield Row("overload", f"{_CLIENTS} clients on {_CAPACITY} slots, shed", share, "share", note=about)
    ratio = _GOAL_SHED_MS / max(crowd["shed_p95_ms"], 1e-9)
    yield Row("overload", "refused, p95", crowd["shed_p95_ms"], "ms", f"goal {_GOAL_SHED_MS:g}", ratio)
    yield _slower("admitted, p95", crowd, full, f"p50 {crowd['ok_p50_ms']:.1f}, full {full['ok_p50_ms']:.1f}")
    yield Row("overload", "answers per second", crowd["per_s"], "/s", f"full {full['per_s']:.1f}",
              crowd["per_s"] / max(full["per_s"], 1e-9))  # fmt: skip


def _slower(measure: str, now: dict[str, float], then: dict[str, float], note: str) -> Row:
    times = now["ok_p95_ms"] / max(then["ok_p95_ms"], 1e-9)
    return Row("overload", measure, now["ok_p95_ms"], "ms", f"full {then['ok_p95_ms']:.1f}", 1 / times,
               f"{times:.2f} times, goal {_GOAL_SLOWER:g}; {note}")  # fmt: skip


def _burst(server: Running, asked: list[str]) -> Rows:
    """Five times the clients for a while, then as before: nothing is left of it."""
    before, burst, after = (
        server.load("/answer", distinct(asked, "question", salt), clients, _SECONDS)
        for salt, clients in (("before", _CAPACITY), ("burst", _BURST), ("after", _CAPACITY))
    )
    note = (
        f"burst of {_BURST} clients: {burst['ok']:.0f} answered, {burst['shed']:.0f} shed, {burst['failed']:.0f} failed"
    )
    yield Row("overload", "answers per second after a burst", after["per_s"], "/s", f"before {before['per_s']:.1f}",
              after["per_s"] / max(before["per_s"], 1e-9), f"{after['shed']:.0f} shed after; {note}")  # fmt: skip
