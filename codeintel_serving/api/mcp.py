"""MCP over streamable HTTP: answers are JSON; those of tools that tell their progress are event streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastmcp import FastMCP
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel_serving.api.tools import while_connected
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
        if scope["method"] != "POST" or scope["state"]["operation"] in self._streamed:
            await self._streaming(scope, receive, send)
        else:
            body: Message = {"type": "http.request", "body": scope["state"]["body"], "more_body": False}
            await while_connected(Request(scope, receive), _answered(self._plain, scope, body, send))


async def _answered(app: ASGIApp, scope: Scope, body: Message, send: Send) -> None:
    given = [body]

    async def receive() -> Message:
        return given.pop() if given else await asyncio.Future[Message]()  # whether the client left is watched outside

    await app(scope, receive, send)
