"""REST, MCP and the command line give the same result for the same request, and each follows its schema."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import httpx
import jsonschema
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from typer.testing import CliRunner
from workshop import Workshop

from codeintel_core.settings import get_settings
from codeintel_core.telemetry import ledger
from codeintel_serving.cli import app
from codeintel_serving.services import Services
from codeintel_serving.tools.registry import SERVED_ONLY, SUMMARIES, all_tools, load

pytestmark = pytest.mark.e2e

OF_THE_CALL = {"run_id", "trace_id", "stages", "expires_in_s"}
OF_THE_PROCESS = {"readiness"}  # the command line is another process than the server

REQUESTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "search": (
        {"query": "publish_generation", "limit": 3, "per_file": 1},
        ["publish_generation", "--limit", "3", "--per-file", "1"],
    ),
    "answer": (
        {"question": "how is a generation published?", "max_citations": 1, "rerank_top_n": 5},
        ["how is a generation published?", "--max-citations", "1", "--rerank-top-n", "5"],
    ),
    "grep": (
        {"pattern": "def (publish|swap)", "regex": True, "context": 1, "group_by": "folder"},
        ["def (publish|swap)", "--regex", "--context", "1", "--group-by", "folder"],
    ),
    "symbols": ({"name": "swap_pointer", "relation": "both"}, ["swap_pointer", "--relation", "both"]),
    "read": (
        {"targets": ["shop:store/publish.py:6-8", "web/cart.js#cartTotal"], "expand": 1},
        ["shop:store/publish.py:6-8", "web/cart.js#cartTotal", "--expand", "1"],
    ),
    "tree": ({"path": "store", "scope": {"languages": ["python"]}}, ["store", "--language", "python"]),
    "overview": ({"focus": "publish", "max_tokens": 500}, ["publish", "--max-tokens", "500"]),
    "history": ({"path": "store/publish.py", "diff": True}, ["store/publish.py", "--diff"]),
    "blame": ({"path": "shop:web/cart.js", "end_line": 2}, ["shop:web/cart.js", "--end-line", "2"]),
    "diff": ({"old": "HEAD", "unit": "lines"}, ["HEAD", "--unit", "lines"]),
    "status": ({"repos": ["shop"], "paths": ["web/cart.js", "x"]}, "--repo shop --path web/cart.js --path x".split()),
    "set_scope": ({"scope": {"paths": ["store/**"]}}, []),
    "get_scope": ({"scope_id": ""}, []),
}  # fmt: skip


def comparable(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in OF_THE_CALL | OF_THE_PROCESS}


def request_of(http: httpx.Client, tool: str) -> dict[str, Any]:
    """The request of a tool; the handle that `get_scope` needs is made."""
    if tool == "get_scope":
        return {"scope_id": http.post("/scope", json=REQUESTS["set_scope"][0]).json()["scope_id"]}
    return REQUESTS[tool][0]


def by_mcp(url: str, tool: str, arguments: dict[str, Any]) -> Any:
    async def asked() -> Any:
        async with Client(url + "/mcp", timeout=60) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(asked())


@pytest.fixture
def _configured(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("CODEINTEL_HOME", str(workshop.home.root))
    monkeypatch.setenv("CODEINTEL_RETRIEVAL_BUDGET_MS", "20000")
    monkeypatch.setenv("CODEINTEL_ANSWER_BUDGET_MS", "60000")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_every_tool_is_compared() -> None:
    assert REQUESTS.keys() == SUMMARIES.keys()


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize("tool", REQUESTS)
def test_the_same_request_has_the_same_result(http: httpx.Client, base_url: str, tool: str) -> None:
    body, words = request_of(http, tool), REQUESTS[tool][1]
    rest = http.post(load(tool).path, json=body)
    assert rest.status_code == 200, rest.text
    mcp = by_mcp(base_url, tool, body)
    expected, found = comparable(rest.json()), comparable(mcp.structured_content)
    if tool == "set_scope":
        assert expected.pop("scope_id") != found.pop("scope_id")
    assert found == expected
    assert mcp.content[0].text
    assert expected["index"][0]["repo"] == "shop"
    command = CliRunner().invoke(app, [tool, *words, "--json"])
    if tool in SERVED_ONLY:
        assert command.exit_code == 2
        assert f"No such command '{tool}'" in command.output
    else:
        assert command.exit_code == 0, command.output
        assert comparable(json.loads(command.stdout)) == expected


def test_results_follow_the_schemas_that_are_told(http: httpx.Client, base_url: str) -> None:
    async def listed() -> dict[str, Any]:
        async with Client(base_url + "/mcp", timeout=60) as client:
            return {tool.name: tool for tool in await client.list_tools()}

    tools, openapi = asyncio.run(listed()), http.get("/openapi.json").json()
    for tool in all_tools():
        body = request_of(http, tool.name)
        told = tools[tool.name]
        assert told.description == tool.description
        assert told.annotations.read_only_hint is tool.is_read_only
        for schema in (told.input_schema, told.output_schema):
            jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(body, told.input_schema)
        jsonschema.validate(http.post(tool.path, json=body).json(), told.output_schema)
        operation = openapi["paths"][tool.path]["post"]
        model = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
        (example,) = openapi["components"]["schemas"][model]["examples"]
        tool.request.model_validate(example)
        assert {"400", "404", "410", "422", "504"} <= operation["responses"].keys()


def test_every_call_leaves_a_ledger_with_its_steps(http: httpx.Client, workshop: Workshop, services: Services) -> None:
    services.tool_answers.clear()
    kinds = {
        "grep": "grep", "symbols": "symbols", "read": "files.read", "tree": "files.list", "overview": "overview",
        "history": "git.history", "blame": "git.blame", "diff": "git.diff",
    }  # fmt: skip
    for tool, kind in kinds.items():
        run_id = http.post(load(tool).path, json=REQUESTS[tool][0]).json()["run_id"]
        ended = {line["kind"] for line in ledger.read(workshop.home.ledger, run_id) if line["event"] == "end"}
        assert {"tool", "scope.resolve", kind} <= ended


def test_a_session_of_an_agent_over_stdio(workshop: Workshop) -> None:
    """Search, read what was found, see its uses and its history."""
    env = {**os.environ, "CODEINTEL_HOME": str(workshop.home.root), "CODEINTEL_RETRIEVAL_BUDGET_MS": "20000"}
    env["PYTHONPATH"] = os.getcwd()
    command = ["-c", "from codeintel_serving.cli import app; app()", "mcp"]

    async def session() -> None:
        transport = StdioTransport(sys.executable, command, env=env, keep_alive=False)
        async with Client(transport, timeout=60) as client:
            found = (await client.call_tool("search", {"query": "publish_generation"})).structured_content["results"][0]
            read = (await client.call_tool("read", {"targets": [found["id"]]})).structured_content["files"][0]
            assert read["text"] == found["snippet"]
            uses = await client.call_tool("symbols", {"name": "swap_pointer", "relation": "reference"})
            (use,) = uses.structured_content["symbols"]
            assert (use["symbol"], use["evidence"]) == ("publish_generation", "same file")
            told = await client.call_tool("history", {"path": f"{found['repo']}:{found['path']}"})
            assert told.structured_content["commits"][0]["subject"] == "change"

    asyncio.run(session())
