"""Connections that are kept: who waits on one, and what is said when one ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from uvicorn.server import ServerState

from codeintel_serving.api.protocol import BoundedProtocol

REQUEST = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
Client = Callable[[BoundedProtocol, socket.socket], Awaitable[None]]


async def app(_: object, __: object, send: Callable[[dict[str, object]], Awaitable[None]]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def connected(client: Client) -> None:
    """Let a client have a connection to the protocol, in its event loop; what it does without waiting comes first."""

    async def run() -> None:
        config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None)
        config.load()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(
            lambda: BoundedProtocol(config, ServerState(), {}), ours
        )
        with theirs:
            await client(protocol, theirs)

    asyncio.run(run())


async def answer(of: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(of, 65_536)


def test_a_request_that_arrives_as_its_connection_times_out_is_answered() -> None:
    async def client(protocol: BoundedProtocol, connection: socket.socket) -> None:
        for _ in range(2):  # on a new connection, and on one that was used
            connection.send(REQUEST)
            protocol.timeout_keep_alive_handler()  # as a busy loop calls it: timers first, then what there is to read
            assert (await answer(connection)).startswith(b"HTTP/1.1 200 ")

    connected(client)


def test_an_idle_connection_ends_without_a_word() -> None:
    """A 408 would be the answer to whatever is asked just then."""

    async def client(protocol: BoundedProtocol, connection: socket.socket) -> None:
        assert protocol.timeout_keep_alive_task is not None
        protocol.timeout_keep_alive_handler()
        assert await answer(connection) == b""

    connected(client)
