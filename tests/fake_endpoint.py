"""A model endpoint on real sockets that replays bytes as they were recorded, cut and paced as a test wants.

Everything between the socket and the caller is real: the HTTP client, chunked framing, disconnects. What it replays
is in `tests/transcripts`, recorded from vLLM 0.32. The `openai` package reads it too, which keeps it honest.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TRANSCRIPTS = Path(__file__).parent / "transcripts"
_CLOSE_S = 10
_FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1795183767, "model": "tiny-chat"}


@dataclass(frozen=True)
class Request:
    """What the endpoint was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """What the endpoint answers: the chunks of the body one after the other, `pause_s` between them."""

    status: int = 200
    chunks: Sequence[bytes] = ()
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    is_cut: bool = False
    """Close the connection without the end of the chunked body."""
    hangs: bool = False
    """Never end after the chunks: wait for the client to leave."""


Route = Callable[[Request], Reply]


def recorded(name: str) -> Reply:
    """The response of a `*.json` transcript."""
    response = json.loads((TRANSCRIPTS / f"{name}.json").read_text())["response"]
    return Reply(response["status"], [json.dumps(response["json"]).encode()], {"content-type": "application/json"})


def stream_bytes(name: str) -> bytes:
    """The bytes of a recorded `*.sse.txt` stream."""
    return (TRANSCRIPTS / f"{name}.sse.txt").read_bytes()


def streamed(data: bytes, *, size: int = 1 << 20, **changes: Any) -> Reply:
    """A stream of events in chunks of `size` bytes."""
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return Reply(200, chunks, {"content-type": "text/event-stream; charset=utf-8"}, **changes)


def said(body: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, [data], {"content-type": "application/json", **headers})


def completion(texts: Iterable[str], finish: str | None = "stop", done: bool = True) -> bytes:
    """The events of a completion that says `texts`, in the form of the recorded ones."""
    frames = []
    for text in texts:
        choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
        frames.append(
            {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny-chat", "choices": [choice]}
        )
    if finish:
        last = {"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": finish}
        frames.append({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "tiny-chat", "choices": [last]})
    data = b"".join(b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n" for frame in frames)
    return data + (b"data: [DONE]\n\n" if done else b"")


class FakeEndpoint:
    """Answers each path with its route; use as a context manager.

    Attributes:
        routes: path -> what to answer; may be changed at any time.
        requests: what was asked so far.
        connections: how many clients opened; each may ask one thing after the other.
        left_early: how many clients closed their connection before the reply was over.
    """

    def __init__(self, routes: dict[str, Route | Reply]) -> None:
        self.routes = routes
        self.requests: list[Request] = []
        self.connections = self.left_early = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def asked(self, path: str) -> list[Request]:
        """Requests for one path."""
        return [request for request in self.requests if request.path == path]

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = started.result(_CLOSE_S)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                self.requests.append(request)
                route = self.routes.get(request.path, said({"detail": "Not Found"}, 404))
                reply = route if isinstance(route, Reply) else route(request)
                await self._write(reply, reader, writer)
                if reply.is_cut:
                    break
        except ConnectionError:
            self.left_early += 1
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(method, path, headers, json.loads(body) if body else None)

    async def _write(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {**reply.headers, "transfer-encoding": "chunked"}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {reply.status} X\r\n{lines}\r\n".encode())
        leaving = asyncio.ensure_future(reader.read(1))  # nobody asks before the reply is over: only an end can come
        try:
            for chunk in reply.chunks:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await writer.drain()
                if reply.pause_s:
                    await asyncio.wait([leaving], timeout=reply.pause_s)
                if leaving.done():
                    raise ConnectionResetError
            if reply.hangs:
                await leaving
                raise ConnectionResetError
            if not reply.is_cut:
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])
