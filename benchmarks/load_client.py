"""A load generator in a process of its own: connections that each send the next request when the last is answered.

    python -m benchmarks.load_client < order.json

It speaks just enough HTTP/1.1, since an HTTP library would cost more than the servers that are measured here: 15 us of
CPU per request against 100 and more. What it used of its core is part of its report.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
import time
from collections.abc import Iterator
from typing import cast

import numpy as np
import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
RETRY = re.compile(rb"\r\nretry-after: (\d+)\r\n", re.IGNORECASE)


class Reply:
    """One reply as its bytes come."""

    def __init__(self) -> None:
        self.data, self._size = b"", -1

    def take(self, data: bytes) -> bool:
        """Take what came; whether all of it is there."""
        self.data += data
        if self._size < 0:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return False
            length = _LENGTH.search(self.data, 0, end + 2)
            self._size = end + 4 + int(length[1] if length else 0)
        return len(self.data) >= self._size


class _Connection(asyncio.Protocol):
    """One client; `answered` gets (status, seconds) of each request, negative for those that began before `since`."""

    def __init__(
        self, requests: Iterator[bytes], answered: list[tuple[int, float]], since: float, until: float, is_polite: bool
    ) -> None:
        """`is_polite`: waits as long as Retry-After says."""
        self._requests, self._answered, self._since, self._until = requests, answered, since, until
        self._is_polite = is_polite
        self._reply = Reply()
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self._next()

    def data_received(self, data: bytes) -> None:
        if self._reply.take(data):
            now, status = time.perf_counter(), int(self._reply.data[9:12])
            is_warm = self._started >= self._since
            self._answered.append((status, now - self._started if is_warm else -1.0))
            retry = RETRY.search(self._reply.data) if self._is_polite and status != 200 else None
            if retry:
                asyncio.get_running_loop().call_later(int(retry[1]), self._next)
            else:
                self._next()

    def connection_lost(self, _: Exception | None) -> None:
        if not self.ended.done():
            self._answered.append((0, 0.0))  # the server broke off
            self.ended.set_result(None)

    def _next(self) -> None:
        self._reply, self._started = Reply(), time.perf_counter()
        if self._started < self._until:
            self._transport.write(next(self._requests))
        elif not self.ended.done():
            self.ended.set_result(None)
            self._transport.close()


async def _run(order: dict[str, object]) -> dict[str, float]:
    host, port, path = str(order["host"]), int(str(order["port"])), str(order["path"])
    bodies = order["bodies"]
    assert isinstance(bodies, list)
    head = "{} {} HTTP/1.1\r\nHost: {}:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    made = [
        head.format("POST" if body else "GET", path, host, port, len(body.encode())).encode() + body.encode()
        for body in bodies
    ]
    requests = itertools.cycle(made)
    seconds, warm_s = float(str(order["seconds"])), float(str(order["warm_s"]))
    answered: list[tuple[int, float]] = []
    loop = asyncio.get_running_loop()
    since = time.perf_counter() + warm_s
    connections = []
    for _ in range(int(str(order["connections"]))):
        _, connection = await loop.create_connection(
            lambda: _Connection(requests, answered, since, since + seconds, bool(order["is_polite"])), host, port
        )
        connections.append(connection)
    cpu_s, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(connection.ended for connection in connections))
    used = (time.process_time() - cpu_s) / (time.perf_counter() - started)
    return _report(answered, seconds, used)


def _report(answered: list[tuple[int, float]], seconds: float, used: float) -> dict[str, float]:
    good = [took for status, took in answered if status == 200 and took >= 0]
    shed = [took for status, took in answered if status in (429, 503) and took >= 0]
    failed = sum(status not in (200, 429, 503) for status, _ in answered)
    found = {"all": len(answered), "ok": len(good), "shed": len(shed), "failed": failed,
             "per_s": len(good) / seconds, "client_cpu": used}  # fmt: skip
    for name, taken in (("ok", good), ("shed", shed)):
        for percent in (50, 95):
            found[f"{name}_p{percent}_ms"] = float(np.percentile(taken, percent) * 1000) if taken else float("nan")
    return found


if __name__ == "__main__":
    print(json.dumps(uvloop.run(_run(json.load(sys.stdin)))))
