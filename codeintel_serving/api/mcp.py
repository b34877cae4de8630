"""MCP over streamable HTTP: answers are JSON, and event streams where tools tell their progress to who takes those."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastmcp import FastMCP
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel_serving.api.headers import header
from codeintel_serving.api.tools import EVENTS, while_connected
from codeintel_serving.tools.registry import all_tools


class McpEndpoint:
    """ASGI app. Clients accept both forms; a stream of one event takes a third of a call more than its JSON.

    What is called as JSON is cancelled when its client leaves, as streams are by themselves.
    """

    def __init__(self, server: FastMCP) -> None:
        # `Hosts` protects them too, by the same settings as everything else.
        self._streaming, self._plain = (
            server.http_app(path="/mcp", stateless_http=True, host_origin_protection=False, json_response=is_json)
            for is_json in (False, True)
        )
        self._streamed = frozenset(tool.name for tool in all_tools() if tool.tells_progress)

    @asynccontextmanager
    async def lifespan(self, running: FastAPI) -> AsyncIterator[None]:
        """Be ready to answer until the end of the block."""
        async with self._streaming.lifespan(running), self._plain.lifespan(running):
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request whose body `Bounds` has read."""
        if scope["method"] != "POST" or self._is_streamed(scope):
            await self._streaming(scope, receive, send)
            return
        is_answered = False

        async def noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        body: Message = {"type": "http.request", "body": scope["state"]["body"], "more_body": False}
        left = await while_connected(Request(scope, receive), _answered(self._plain, scope, body, noted))
        if left is not None and not is_answered:  # a client is gone too when it has its whole answer
            await left(scope, receive, send)  # for spans and metrics, as over REST

    def _is_streamed(self, scope: Scope) -> bool:
        return scope["state"]["operation"] in self._streamed and EVENTS in header(scope, b"accept")


async def _answered(app: ASGIApp, scope: Scope, body: Message, send: Send) -> None:
    given = [body]

    async def receive() -> Message:
        return given.pop() if given else await asyncio.Future[Message]()  # whether the client left is watched outside

    await app(scope, receive, send)
