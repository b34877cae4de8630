"""A tool called over MCP (HTTP, stateless): ours, its result cached, beside a bare FastMCP tool with the same reply.

Each call is one POST of a `tools/call`; CPU is what the server used per call, which does not depend on who else uses
the machine.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import httpx

from benchmarks import servers
from benchmarks.queries import questions
from benchmarks.rows import Row, Rows, percentiles, seconds
from benchmarks.servers import Running
from benchmarks.workplace import Workplace

_CALLS, _WARM, _ROUNDS = 100, 20, 3
_HEADERS = {"Accept": "application/json, text/event-stream"}


def measure(at: Workplace) -> Rows:
    """Needs the home that `builds` leaves."""
    query = questions(at)[0]
    with servers.ours(at) as ours:
        reply = _call(ours, query)
        kept = at.folder / "bare_reply.json"
        kept.write_text(json.dumps({"text": reply["content"][0]["text"], "structured": reply["structuredContent"]}))
        with servers.bare_mcp(kept) as bare:
            assert _call(bare, query)["structuredContent"] == reply["structuredContent"]
            (mine_ms, mine_cpu), (other_ms, other_cpu) = _in_turn(ours, bare, query)
    note = f"the same reply of {kept.stat().st_size:,} bytes; goal: at most 1.2 times the peer"
    yield Row("MCP", "search, cached, CPU per call", mine_cpu * 1000, "ms", f"bare FastMCP {other_cpu * 1000:.2f}",
              other_cpu / mine_cpu, note)  # fmt: skip
    yield Row("MCP", "search, cached, p50", mine_ms, "ms", f"bare FastMCP {other_ms:.2f}", other_ms / mine_ms)


def _in_turn(ours: Running, bare: Running, query: str) -> list[tuple[float, float]]:
    """Median milliseconds and CPU seconds of a call to each server; they take turns."""
    taken: list[list[float]] = [[], []]
    cpu_s = [0.0, 0.0]
    for server in (ours, bare):
        for _ in range(_WARM):
            _call(server, query)
    for _ in range(_ROUNDS):
        for number, server in enumerate((ours, bare)):
            before = server.cpu_s()
            with httpx.Client(timeout=60, headers=_HEADERS) as http:
                work = partial(_post, http, server, query)
                taken[number] += [seconds(work) for _ in range(_CALLS)]
            cpu_s[number] += server.cpu_s() - before
    return [(percentiles(some)[0], cpu / _CALLS / _ROUNDS) for some, cpu in zip(taken, cpu_s, strict=True)]


def _call(server: Running, query: str) -> dict[str, Any]:
    """The result of one call."""
    with httpx.Client(timeout=60, headers=_HEADERS) as http:
        text = _post(http, server, query).text
    line = next((line for line in text.splitlines() if line.startswith("data:")), text)
    found: dict[str, Any] = json.loads(line.removeprefix("data:"))["result"]
    return found


def _post(http: httpx.Client, server: Running, query: str) -> httpx.Response:
    order = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
             "params": {"name": "search", "arguments": {"query": query}}}  # fmt: skip
    return http.post(f"http://127.0.0.1:{server.port}/mcp", json=order).raise_for_status()
