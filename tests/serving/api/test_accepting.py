"""Connections of several workers: who holds the fewest takes the next, and nobody waits for one that does not."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest

from codeintel_serving.api import accepting
from codeintel_serving.api.accepting import Acceptor
from codeintel_serving.api.protocol import BoundedProtocol
from codeintel_serving.siblings import Connections, Siblings

SOON_S = 30


class Worker:
    """One that accepts; both of a test are in the loop of the test."""

    def __init__(self, listener: socket.socket, folder: Path, number: int) -> None:
        self.held, self.made = set[Held](), 0
        self.siblings = Siblings(folder, number, 2)
        made = cast("Callable[[], BoundedProtocol]", lambda: Held(self))
        self.acceptor = Acceptor(listener, made, Connections(self.siblings), lambda: len(self.held))


class Held(asyncio.Protocol):
    """A connection, as uvicorn knows it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._worker.held.add(self)
        self._worker.made += 1

    def connection_lost(self, _: Exception | None) -> None:
        self._worker.held.discard(self)

    def shutdown(self) -> None:
        self.transport.close()


def in_loop(folder: Path, test: Callable[[socket.socket, Path], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(SOON_S):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                await test(listener, folder)

    asyncio.run(run())


async def connected(listener: socket.socket, workers: list[Worker]) -> socket.socket:
    """A new connection, once a worker holds it."""
    before = sum(worker.made for worker in workers)
    client = socket.create_connection(listener.getsockname())
    while sum(worker.made for worker in workers) == before:
        await asyncio.sleep(0)
    return client


def test_the_one_with_the_fewest_takes_the_next(tmp_path: Path) -> None:
    async def test(listener: socket.socket, folder: Path) -> None:
        workers = [Worker(listener.dup(), folder, number) for number in (1, 2)]
        clients = [await connected(listener, workers) for _ in range(40)]
        first, second = (len(worker.held) for worker in workers)
        assert abs(first - second) <= 4  # each pause of the loop, which is that of both, may move one
        for held in list(workers[0].held):
            held.transport.abort()
        while workers[0].held:
            await asyncio.sleep(0)
        workers[0].acceptor.tell()  # as the server does ten times a second
        clients += [await connected(listener, workers) for _ in range(first)]
        assert len(workers[0].held) >= first - 4
        for client in clients:
            client.close()

    in_loop(tmp_path, test)


def test_nobody_waits_for_one_that_does_not_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is busy or stopped: after each wait for it twice as many are accepted."""
    waits, wait = list[float](), Acceptor._wait

    def counted(self: Acceptor, seconds: float, then: Callable[[], None]) -> None:
        waits.append(seconds)
        wait(self, seconds, then)

    monkeypatch.setattr(Acceptor, "_wait", counted)  # to count them: how long they take says little here

    async def test(listener: socket.socket, folder: Path) -> None:
        worker, other = Worker(listener, folder, 1), Connections(Siblings(folder, 2, 2))
        clients = [await connected(listener, [worker]) for _ in range(2)]
        assert not waits  # the other one was killed, or is not started yet
        other.tell(0)
        clients += [socket.create_connection(listener.getsockname()) for _ in range(64)]
        while worker.made < 66:
            await asyncio.sleep(0)
        assert len(waits) == 7  # 1 + 2 + 4 + 8 + 16 + 32, and one
        for client in clients:
            client.close()

    in_loop(tmp_path, test)


def test_too_many_open_files_end_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(socket.socket):  # a real limit would be that of the whole test run
        tries = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.tries += 1
            if self.tries < 3:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    async def test(listener: socket.socket, folder: Path) -> None:
        full = Full(fileno=listener.dup().detach())
        worker, other = Worker(full, folder, 1), Connections(Siblings(folder, 2, 2))
        other.tell(5)
        (await connected(listener, [worker])).close()
        assert full.tries == 3
        assert not other.are_fewest()  # the worker says again that it accepts
        worker.acceptor.close()
        full.close()

    monkeypatch.setattr(accepting, "_PAUSE_S", 0.01)  # it is waited for twice
    in_loop(tmp_path, test)
    assert [record.message for record in caplog.records] == ["no connection can be accepted: Too many open files"] * 2


def test_after_its_end_it_leaves_what_comes_to_the_others(tmp_path: Path) -> None:
    async def test(listener: socket.socket, folder: Path) -> None:
        first, second = (Worker(listener.dup(), folder, number) for number in (1, 2))
        (await connected(listener, [first, second])).close()
        first.acceptor.close()
        first.acceptor.close()
        clients = [await connected(listener, [second]) for _ in range(3)]
        assert Connections(second.siblings).are_fewest()
        assert not first.held
        for client in clients:
            client.close()

    in_loop(tmp_path, test)


def test_a_connection_that_was_being_opened_at_the_end_is_told(tmp_path: Path) -> None:
    async def test(listener: socket.socket, folder: Path) -> None:
        worker = Worker(listener, folder, 1)
        client = socket.create_connection(listener.getsockname())
        while not worker.acceptor._opening:
            await asyncio.sleep(0)
        worker.acceptor.close()
        client.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        client.close()

    in_loop(tmp_path, test)
