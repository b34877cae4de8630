"""The MCP face through the real client, over HTTP and over stdio: same tools, same envelope, clean stdout."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from running import until
from workshop import Workshop

from codeintel_core.stopping import is_given_up
from codeintel_core.traces import journal, tables
from codeintel_core.traces.tables import DailyTable
from codeintel_serving.mcp.runs import NAMES as RUN_TOOLS
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.searching import Answered
from codeintel_serving.services import Services
from codeintel_serving.tools.registry import SUMMARIES

pytestmark = pytest.mark.e2e

QUESTION = "how is a generation published atomically?"
STDIO = ["-c", "from codeintel_serving.cli import app; app()", "mcp"]
Connect = Callable[[], AbstractAsyncContextManager[Client[Any]]]


def environment(workshop: Workshop) -> dict[str, str]:
    budgets = {"CODEINTEL_RETRIEVAL_BUDGET_MS": "20000", "CODEINTEL_ANSWER_BUDGET_MS": "60000"}
    return {**os.environ, "CODEINTEL_HOME": str(workshop.home.root), "PYTHONPATH": os.getcwd(), **budgets}


@pytest.fixture(params=["http", "stdio"])
def connect(request: pytest.FixtureRequest, workshop: Workshop) -> Connect:
    """Opens a client over one of the transports."""

    @asynccontextmanager
    async def client() -> AsyncIterator[Client[Any]]:
        if request.param == "http":
            address = request.getfixturevalue("base_url") + "/mcp"
            target: Any = StreamableHttpTransport(address, headers={"X-Session-ID": "s-mcp"})
        else:
            target = StdioTransport(sys.executable, STDIO, env=environment(workshop), keep_alive=False)
        async with Client(target, timeout=60) as connected:
            yield connected

    return client


def _session(table: DailyTable, run_id: str) -> str:
    rows = [row for day in journal.days(table.journals) for row in tables.read_day(table, day).to_pylist()]
    return next(str(row["session_id"]) for row in rows if row["run_id"] == run_id)


def test_every_tool_works(connect: Connect, workshop: Workshop) -> None:
    async def scenario() -> None:
        async with connect() as client:
            tools = {tool.name: tool for tool in await client.list_tools()}
            assert set(tools) == {*SUMMARIES, *RUN_TOOLS}
            for tool in tools.values():
                assert tool.annotations is not None
                assert tool.annotations.read_only_hint is (tool.name not in ("set_scope", "feedback"))
                assert tool.output_schema
                assert "Do not" in (tool.description or "")

            found = await client.call_tool("search", {"query": QUESTION, "limit": 2, "scope": {"repos": ["shop"]}})
            best = found.structured_content["results"][0]
            assert best["symbol"] == "publish_generation"
            assert found.content[0].text.startswith(best["id"])
            assert found.meta["run_id"] == found.structured_content["run_id"]

            read = await client.call_tool("read", {"targets": [best["id"]]})
            assert read.structured_content["files"][0]["text"] == best["snippet"]
            runs = (found.structured_content["run_id"], read.structured_content["run_id"])
            asked, opened = (_session(table, run) for table, run in zip(tables.every(workshop.home), runs, strict=True))
            assert asked == opened != "", "what was read in the session can be joined with what it had asked"

            defined = await client.call_tool("symbols", {"name": "publish_generation", "relation": "definition"})
            assert [symbol["path"] for symbol in defined.structured_content["symbols"]] == [best["path"]]

            answered = await client.call_tool("answer", {"question": QUESTION, "max_citations": 1})
            assert [c["id"] for c in answered.structured_content["citations"]] == [1]

            run_id = answered.structured_content["run_id"]
            given = await client.call_tool("feedback", {"run_id": run_id, "kind": "useful", "citation": 1})
            assert given.structured_content["run_id"] == run_id
            report = await client.call_tool("run_report", {"run_id": run_id})
            assert report.structured_content["run_id"] == run_id
            assert "retrieve.lexical" in report.content[0].text

            state = await client.call_tool("status", {})
            assert state.structured_content["repositories"][0]["repo"] == "shop"
            assert state.structured_content["repositories"][0]["sparse"] == "not_configured"

            plain = {"query": "os.replace(", "mode": "exact", "explain": True}
            exact = (await client.call_tool("search", plain)).structured_content["results"]
            assert [hit["symbol"] for hit in exact] == ["swap_pointer"]
            assert set(exact[0]["explanation"]) == {"fused", "weights", "priors", "tuning_id"}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("tool", "arguments", "code", "said"),
    [
        ("search", {"query": "x", "scope": {"repos": ["nope"]}}, "unknown-repository", "registered: shop"),
        (
            "search",
            {"query": "x", "limit": 1000},
            "invalid-request",
            "limit: Input should be less than or equal to 200",
        ),
        ("search", {"query": "x", "limit": "5"}, "invalid-request", "limit: Input should be a valid integer"),
        ("search", {"query": "x", "k": 5}, "invalid-request", "k"),
        ("search", {}, "invalid-request", "query"),
        ("search", {"query": "x", "mode": "psychic"}, "invalid-request", "'auto', 'hybrid', 'lexical', "),
        ("search", {"query": "x", "mode": "sparse"}, "channel-unavailable", "sparse channel is off: not_configured"),
        ("search", {"query": "a(b", "mode": "regex"}, "invalid-pattern", "at position 1: missing )"),
        ("answer", {"question": "  "}, "invalid-request", "empty"),
        ("read", {"targets": ["shop:../secret"]}, "unknown-file", "no readable text file"),
        ("read", {"targets": ["shop:"]}, "unknown-file", "no readable text file"),
        ("read", {"targets": ["shop:x:3-1"]}, "invalid-request", "before its start"),
        ("read", {"targets": ["shpo:x"]}, "unknown-repository", "did you mean 'shop'?"),
        ("read", {"targets": []}, "invalid-request", "at least 1 item"),
        ("status", {"repos": ["nope"]}, "unknown-repository", "registered: shop"),
    ],
)
def test_bad_arguments_get_a_corrective_problem(
    base_url: str, tool: str, arguments: dict[str, Any], code: str, said: str
) -> None:
    async def scenario() -> None:
        async with Client(base_url + "/mcp", timeout=60) as client:
            result = await client.call_tool(tool, arguments, raise_on_error=False)
            assert result.is_error
            problem = result.structured_content
            assert problem["code"] == code
            assert said in problem["detail"]
            assert problem["detail"] in result.content[0].text
            assert problem["run_id"] == result.meta["run_id"]
            assert "Traceback" not in json.dumps(problem)

    asyncio.run(scenario())


def test_a_foreign_host_or_origin_is_refused(http: httpx.Client) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    for header in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        accept = {"Accept": "application/json, text/event-stream"}
        assert http.post("/mcp", json=body, headers=accept | header).status_code in (403, 421)


def test_stdio_writes_nothing_but_the_protocol_to_stdout(workshop: Workshop) -> None:
    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "0"},
        },
    }
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call"}
    call["params"] = {"name": "search", "arguments": {"query": QUESTION}}
    messages = [initialize, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call]
    with subprocess.Popen(
        [sys.executable, *STDIO],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(workshop), text=True,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("".join(json.dumps(message) + "\n" for message in messages))
        server.stdin.flush()
        answers = []
        while not any(answer.get("id") == 2 for answer in answers):
            answers.append(json.loads(server.stdout.readline()))
        server.stdin.close()
        rest = server.stdout.read()
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest.splitlines())


def test_a_client_that_leaves_ends_its_call(base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    began, gave_up = threading.Event(), threading.Event()

    def find(_: Services, __: SearchRequest, ___: Caller) -> Answered:
        began.set()
        until(is_given_up)
        gave_up.set()
        raise asyncio.CancelledError

    monkeypatch.setattr(Services, "find", find)  # a search that goes on until it is given up
    order = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
             "params": {"name": "search", "arguments": {"query": "who leaves"}}}  # fmt: skip
    body = json.dumps(order)
    head = (
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json, text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    where = urlsplit(base_url)
    with socket.create_connection((str(where.hostname), where.port or 0)) as client:
        client.sendall((head + body).encode())
        until(began.is_set)
    until(gave_up.is_set)


def test_an_answer_tells_its_progress(connect: Connect) -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    async def scenario() -> None:
        async with connect() as client:
            await client.call_tool("answer", {"question": QUESTION}, progress_handler=on_progress)

    asyncio.run(scenario())
    assert [at for at, _ in told] == sorted(at for at, _ in told)
    assert {"scope.resolve completed", "cite.verify completed"} <= {message for _, message in told}
