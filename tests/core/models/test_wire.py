"""Each way a connection fails is told apart, since only one that was not made is tried again."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
from collections.abc import Awaitable, Callable

import httpx
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.models.blocking import Blocking
from codeintel_core.models.wire import Wire
from tests.core.models.conftest import Serve, endpoint
from tests.fake_endpoint import said

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
Behave = Callable[[asyncio.StreamWriter], Awaitable[None]]


def _says(data: bytes, *, is_reset: bool = False) -> Behave:
    async def behave(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if is_reset:
            writer.transport.abort()
        writer.close()

    return behave


async def _ask(behave: Behave, *, scheme: str = "http", context: ssl.SSLContext | None = None) -> bytes:
    """What a server that behaves like that answers."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await behave(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    wire = Wire(2, context)
    request = httpx.Request("POST", f"{scheme}://127.0.0.1:{port}/v1", content=b"{}", extensions=_within(5))
    try:
        async with asyncio.timeout(5):
            response = await wire.handle_async_request(request)
            try:
                return b"".join([chunk async for chunk in response.aiter_bytes()])
            finally:
                await response.aclose()
    finally:
        await wire.aclose()
        server.close()


def _within(seconds: float) -> dict[str, dict[str, float]]:
    return {"timeout": {"connect": seconds}}


@pytest.mark.parametrize(
    ("behave", "error"),
    [
        (_says(b""), httpx.RemoteProtocolError),  # the connection was made and lost
        (_says(b"SSH-2.0-OpenSSH_9.9\r\n"), httpx.RemoteProtocolError),
        (_says(_HEAD + b"five!"), httpx.RemoteProtocolError),
        (_says(_HEAD + b"five!", is_reset=True), httpx.RemoteProtocolError),
    ],
)
def test_what_breaks_is_no_timeout_of_connecting(behave: Behave, error: type[Exception]) -> None:
    with pytest.raises(error):
        asyncio.run(_ask(behave))


def test_a_whole_body_is_whole() -> None:
    assert asyncio.run(_ask(_says(_HEAD + b"ten bytes!"))) == b"ten bytes!"


def test_who_speaks_no_tls_cannot_be_reached() -> None:
    with pytest.raises(httpx.ConnectError):
        asyncio.run(
            _ask(_says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), scheme="https", context=ssl.create_default_context())
        )


def test_an_endpoint_that_nobody_holds_is_closed(serve: Serve) -> None:
    there = endpoint(serve({"/v1/models": said({"data": []})}))
    blocking = Blocking(there)
    assert blocking.wait(there.json("GET", "/v1/models", None, Deadline.after(5))) == {"data": []}
    (thread,) = [one for one in threading.enumerate() if one.name == "chat-endpoint"]
    del blocking
    gc.collect()
    assert not thread.is_alive()


def test_what_was_closed_asks_nothing() -> None:
    async def main() -> None:
        wire = Wire(1, None)
        await wire.aclose()
        await wire.handle_async_request(httpx.Request("GET", "http://127.0.0.1:9/", extensions=_within(1)))

    with pytest.raises(httpx.ReadError, match="closed"):
        asyncio.run(main())
