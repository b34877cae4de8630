"""The pages about tools say what the table says, and the configurations of agents connect."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from workshop import Workshop

from codeintel_serving.mcp.runs import NAMES as RUN_TOOLS
from codeintel_serving.models import PagedRequest
from codeintel_serving.tools.registry import SUMMARIES, all_tools

DOCS = Path(__file__).parents[3] / "docs"


def test_the_table_lists_every_tool_with_its_arguments() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `POST (\S+)` \| (.*?) \|", (DOCS / "tools.md").read_text(), re.MULTILINE)
    assert [name for name, _, _ in rows] == list(SUMMARIES)
    for (_, path, listed), tool in zip(rows, all_tools(), strict=True):
        assert path == tool.path
        assert re.findall(r"`(\w+)`", listed) == [
            name
            for name, field in tool.request.model_fields.items()
            if name not in PagedRequest.model_fields or field.is_required()
        ]


def test_every_scenario_expected_to_fail_has_a_reason() -> None:
    lines = (DOCS.parent / "tests/conformance/expected-failures.yml").read_text().splitlines()
    for before, line in itertools.pairwise(lines):
        if line.startswith("  - "):
            assert before.startswith("  # needs "), line


def configurations() -> list[dict[str, Any]]:
    page = (DOCS / "mcp.md").read_text()
    found = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    found += [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    return [next(iter(configuration.values())) for configuration in found]


@pytest.mark.e2e
@pytest.mark.parametrize("servers", configurations(), ids=range(len(configurations())))
def test_a_client_connects_with_each_configuration(servers: dict[str, Any], workshop: Workshop, base_url: str) -> None:
    server = dict(servers["codeintel"])
    if "url" in server:
        server["url"] = server["url"].replace("http://127.0.0.1:8321", base_url)
    else:  # the same command of this environment, over the workshop's home
        assert server["command"] == ".venv/bin/codeintel"
        server["command"] = sys.executable
        server["args"] = ["-c", "from codeintel_core.cli import main; main()", *server["args"]]
        server["env"] = {
            **os.environ,
            **server["env"],
            "CODEINTEL_HOME": str(workshop.home.root),
            "PYTHONPATH": os.getcwd(),
        }

    async def connected() -> None:
        async with Client({"mcpServers": {"codeintel": server}}, timeout=60) as client:
            assert {tool.name for tool in await client.list_tools()} == {*SUMMARIES, *RUN_TOOLS}
            found = await client.call_tool("status", {})
            assert found.structured_content["repositories"][0]["repo"] == "shop"

    asyncio.run(connected())
