"""The ASGI app in front of MCP: in which form it answers, and what is left on record of a client that leaves."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI
from fastmcp import FastMCP
from starlette.types import Message, Scope

from codeintel_serving.api.mcp import McpEndpoint

JSON, EVENTS = "application/json", "text/event-stream"


async def answered(server: FastMCP, tool: str, accept: str, left: asyncio.Event) -> Message:
    """How the answer starts, of a client that leaves when the event is set or it has the answer."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    body = json.dumps(call).encode()
    headers = [(b"content-type", JSON.encode()), (b"accept", accept.encode()), (b"host", b"127.0.0.1")]
    scope: Scope = {
        "type": "http", "method": "POST", "path": "/mcp", "query_string": b"", "headers": headers,
        "state": {"operation": tool, "body": body},
    }  # fmt: skip
    given: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if given:
            return given.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            left.set()

    endpoint = McpEndpoint(server)
    async with endpoint.lifespan(FastAPI()):
        await endpoint(scope, receive, send)
    starts = [message for message in sent if message["type"] == "http.response.start"]
    assert len(starts) == 1
    return starts[0]


@pytest.mark.parametrize(
    ("tool", "accept", "form"),
    [
        ("search", f"{JSON}, {EVENTS}", JSON),
        ("search", JSON, JSON),
        ("answer", f"{JSON}, {EVENTS}", EVENTS),
        ("answer", JSON, JSON),
    ],
)
def test_a_client_that_takes_no_streams_gets_json_of_every_tool(tool: str, accept: str, form: str) -> None:
    server = FastMCP("test")

    @server.tool(name=tool)
    async def quick() -> str:
        return "done"

    async def scenario() -> None:
        start = await answered(server, tool, accept, asyncio.Event())
        assert start["status"] == 200
        assert dict(start["headers"])[b"content-type"].decode().partition(";")[0] == form

    asyncio.run(scenario())


def test_a_client_that_leaves_is_on_record_as_over_rest() -> None:
    server, left = FastMCP("test"), asyncio.Event()

    @server.tool(name="search")
    async def slow() -> str:
        left.set()
        return await asyncio.Future[str]()

    async def scenario() -> None:
        assert (await answered(server, "search", f"{JSON}, {EVENTS}", left))["status"] == 499

    asyncio.run(scenario())
