"""A load generator whose requests come when they are due, whoever is still being served; a process of its own.

    python -m benchmarks.open_client < order.json

Clients that wait for an answer before they ask again slow down with the server and hide how long others would have
waited (coordinated omission). Here every request has its moment beforehand, by a Poisson process, and its time runs
from then, also while it waits for a connection.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import cast

import numpy as np
import uvloop

from benchmarks.load_client import RETRY, Reply

_DRAIN_S = 30.0
_CODE = re.compile(rb'"code":"([\w-]+)"')


@dataclass(slots=True)
class _Due:
    """One request: what is sent, and when it was due; its phase counts it."""

    data: bytes
    at: float
    phase: int


class _Phase:
    """What became of the requests of one phase."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.run_ids: list[str] = []
        self.due = self.shed = 0
        self.failed = Counter[str]()

    def report(self, seconds: float) -> dict[str, object]:
        """Plain numbers; times in ms, `failed` by status and problem, `lost` had no answer at all."""
        ok = len(self.took)
        p50, p95, p99 = np.percentile(self.took, [50, 95, 99]) * 1000 if ok else [float("nan")] * 3
        lost = self.due - ok - self.shed - self.failed.total()
        return {"due": self.due, "ok": ok, "shed": self.shed, "failed": self.failed, "lost": lost,
                "per_s": ok / seconds, "p50_ms": float(p50), "p95_ms": float(p95),
                "p99_ms": float(p99), "run_ids": self.run_ids}  # fmt: skip


class _Connection(asyncio.Protocol):
    """One connection; takes the oldest request that is due whenever it is free."""

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd, self._due = crowd, cast("_Due | None", None)
        self._reply = Reply()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, due: _Due) -> None:
        self._due, self._reply = due, Reply()
        self._transport.write(due.data)

    def data_received(self, data: bytes) -> None:
        if self._reply.take(data) and self._due is not None:
            due, self._due = self._due, None
            self._crowd.answered(due, self._reply.data)
            self._crowd.is_free(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._crowd.lost(self)


class _Crowd:
    """All connections and what waits for one."""

    def __init__(self, phases: int) -> None:
        self.phases = [_Phase() for _ in range(phases)]
        self._free: deque[_Connection] = deque()
        self._waiting: deque[_Due] = deque()
        self.open = 0

    def ask(self, due: _Due) -> None:
        """Send it as soon as a connection is free."""
        self.phases[due.phase].due += 1
        self.open += 1
        if self._free:
            self._free.popleft().ask(due)
        else:
            self._waiting.append(due)

    def is_free(self, connection: _Connection) -> None:
        """Give a connection its next request."""
        if self._waiting:
            connection.ask(self._waiting.popleft())
        else:
            self._free.append(connection)

    def lost(self, connection: _Connection) -> None:
        """The server broke off: nothing is sent there any more."""
        if connection in self._free:
            self._free.remove(connection)

    def answered(self, due: _Due, answer: bytes) -> None:
        """Count an answer."""
        self.open -= 1
        phase, status = self.phases[due.phase], int(answer[9:12])
        if status == 200:
            phase.took.append(time.perf_counter() - due.at)
            if due.data.startswith((b"POST /search ", b"POST /answer ")):
                at = answer.index(b"x-run-id: ") + 10
                phase.run_ids.append(answer[at : at + 36].decode())
        elif status in (429, 503) and RETRY.search(answer):
            phase.shed += 1
        else:
            code = _CODE.search(answer)
            phase.failed[f"{status} {code[1].decode() if code else ''}"] += 1


async def _run(order: dict[str, object]) -> dict[str, object]:
    host, port = str(order["host"]), int(str(order["port"]))
    head = "POST {} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    requests = cast("list[tuple[str, str]]", order["requests"])
    made = [head.format(path, host, port, len(body.encode())).encode() + body.encode() for path, body in requests]
    phases = cast("list[tuple[float, float]]", order["phases"])
    crowd, chance = _Crowd(len(phases)), random.Random(11)
    loop = asyncio.get_running_loop()
    for _ in range(int(str(order["connections"]))):
        crowd.is_free((await loop.create_connection(lambda: _Connection(crowd), host, port))[1])
    at, sent, cpu_s = time.perf_counter(), 0, time.process_time()
    started = at
    for phase, (rate, seconds) in enumerate(phases):
        end = at + seconds
        while (at := at + chance.expovariate(rate)) < end:
            if (wait := at - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            crowd.ask(_Due(made[sent % len(made)], at, phase))
            sent += 1
        at = end
    used = (time.process_time() - cpu_s) / (time.perf_counter() - started)
    until = time.perf_counter() + _DRAIN_S
    while crowd.open and time.perf_counter() < until:
        await asyncio.sleep(0.01)
    found = [phase.report(seconds) for phase, (_, seconds) in zip(crowd.phases, phases, strict=True)]
    return {"phases": found, "client_cpu": used, "drained_s": time.perf_counter() - at}


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))
