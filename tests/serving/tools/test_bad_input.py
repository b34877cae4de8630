"""Bad input to the tools: REST and MCP refuse it alike, name the limit, and do not tell what is hidden from missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastmcp import Client
from workshop import Workshop

from codeintel_serving.tools.registry import SUMMARIES, load

pytestmark = pytest.mark.e2e

UNREADABLE = [
    "../secret", "store/../store/publish.py", "/etc/passwd", "C:\\x", "\\\\host\\x", "file:///etc/passwd",
    "~/.ssh/id_rsa", "%2e%2e/x", "%252e%252e/x", "store/publish.py\0", "store/publish.py\n", ".git/config", ".env",
    "store", "assets/logo.bin", "missing.py", ":(top)store/publish.py", "--help", "-",
]  # fmt: skip
SAID = "'shop' has no readable text file at that path in the indexed commit"
REVISIONS = [
    "--output=F", "-O", "HEAD..main", "main^{tree}", "$(touch F)", "nope", "a b", "^main", "HEAD~9999", "@{-1}", ":/x",
    "main:web",
]  # fmt: skip
LINES = [
    ({"start_line": 0}, "1"), ({"start_line": -1}, "1"), ({"start_line": 10**9}, "10000000"), ({"end_line": 0}, "1"),
    ({"start_line": 5, "end_line": 4}, "before"), ({"end_line": 2_001}, "2000"), ({"start_line": 9_999}, "1..15"),
    ({"start_line": "1"}, "integer"), ({"start_line": 1.5}, "integer"),
]  # fmt: skip
PATTERNS = ["(", "a**", "(?=x)", r"(a)\1", "[z-a]", "x{1001}", "a\0", "", "a\nb"]
SHARED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"max_tokens": 99}, 422, "invalid-request", "100"),
    ({"max_tokens": 20_001}, 422, "invalid-request", "20000"),
    ({"max_tokens": "5"}, 422, "invalid-request", "integer"),
    ({"max_tokens": None}, 422, "invalid-request", "integer"),
    ({"deadline_ms": 0}, 422, "invalid-request", "1"),
    ({"deadline_ms": 10**9}, 422, "invalid-request", "120000"),
    ({"detail": "all"}, 422, "invalid-request", "'ids', 'concise' or 'full'"),
    ({"unknown": 1}, 422, "invalid-request", "unknown"),
    ({"scope": {"repos": ["shpo"]}}, 404, "unknown-repository", "did you mean 'shop'?"),
    ({"scope": {"repos": ["../shop"]}}, 404, "unknown-repository", "no repository"),
    ({"scope": {"repos": ["shop"] * 10_000}}, 422, "invalid-request", "1000"),
    ({"scope": {"paths": ["*" * 300]}}, 422, "invalid-request", "20 stars"),
    ({"scope": {"languages": ["pyton"]}}, 422, "invalid-request", "did you mean 'python'?"),
    ({"scope": {"as_of": "yesterday"}}, 422, "invalid-request", "as_of"),
    ({"scope_id": "forged"}, 404, "unknown-scope", "expired"),
    ({"scope_id": "x", "scope": {"repos": ["shop"]}}, 422, "invalid-request", "not both"),
]
LEAST: dict[str, dict[str, Any]] = {
    "search": {"query": "x"}, "answer": {"question": "x"}, "grep": {"pattern": "x"}, "symbols": {"name": "x"},
    "read": {"targets": ["store/publish.py"]}, "tree": {}, "overview": {}, "history": {},
    "blame": {"path": "store/publish.py"}, "diff": {"old": "HEAD"}, "status": {}, "set_scope": {"scope": {}},
    "get_scope": {"scope_id": "forged"},
}  # fmt: skip

CASES: list[tuple[str, dict[str, Any], int, str, str]] = [
    *(("read", {"targets": [f"shop:{path}"]}, 404, "unknown-file", SAID) for path in UNREADABLE),
    *(("blame", {"path": f"shop:{path}"}, 404, "unknown-file", SAID) for path in UNREADABLE),
    *(("history", {"path": f"shop:{p}"}, 404, "unknown-file", SAID) for p in UNREADABLE if p != "store"),
    *(("diff", {"old": "HEAD", "path": f"shop:{p}"}, 404, "unknown-file", SAID) for p in UNREADABLE if p != "store"),
    *(("blame", {"path": "store/publish.py", "revision": r}, 400, "invalid-revision", "commit") for r in REVISIONS),
    *(("diff", {"old": r}, 400, "invalid-revision", "commit") for r in REVISIONS),
    *(("blame", {"path": "store/publish.py", **lines}, 422, "invalid-request", said) for lines, said in LINES),
    *(("grep", {"pattern": pattern, "regex": True}, 400, "invalid-pattern", "") for pattern in PATTERNS),
    *(("symbols", {"pattern": pattern}, 400, "invalid-pattern", "") for pattern in PATTERNS if pattern),
    *(("search", {"query": "x", "per_file": n}, 422, "invalid-request", said)
      for n, said in ((0, "1"), (-1, "1"), (101, "100"), (1.5, "integer"), ("5", "integer"))),
    *(("answer", {"question": "x", "rerank_top_n": n}, 422, "invalid-request", said)
      for n, said in ((0, "1"), (-1, "1"), (201, "200"), (1.5, "integer"), ("5", "integer"))),
    ("grep", {"pattern": "x" * 10_000}, 422, "invalid-request", "1000"),
    ("grep", {"pattern": "x", "context": 21}, 422, "invalid-request", "20"),
    ("symbols", {}, 422, "invalid-request", "`name` or `pattern`"),
    ("symbols", {"name": "a", "pattern": "b"}, 422, "invalid-request", "`name` or `pattern`"),
    ("tree", {"path": "nowhere"}, 404, "unknown-file", SAID),
    ("tree", {"path": "shpo:store"}, 404, "unknown-repository", "did you mean 'shop'?"),
    ("tree", {"pattern": "*" * 21}, 422, "invalid-request", "20 stars"),
    ("read", {"targets": ["web/cart.js#cartTotl"]}, 422, "invalid-request", "did you mean 'cartTotal'?"),
    *(("read", {"targets": [f"store/publish.py:{lines}"]}, 422, "invalid-request", said) for lines, said in (
        ("0-1", "1..10000000"), ("10000001", "1..10000000"), ("5-4", "before"), ("1-2001", "2000"), ("9999", "1..15"),
    )),
    ("read", {"targets": ["shop:store/"]}, 404, "unknown-file", SAID),
    ("read", {"targets": ["x"] * 21}, 422, "invalid-request", "20"),
    ("history", {"since": "yesterday"}, 422, "invalid-request", "since is a date"),
    ("history", {"until": "2026-99-01"}, 422, "invalid-request", "until is a date"),
    ("history", {"symbol": "publish_generation"}, 422, "invalid-request", "needs `path`"),
    *(("history", {"text": text}, 422, "invalid-request", said)
      for text, said in (("a\0b", "NUL"), ("a\nb", "within lines"), ("***", "'*'"))),
    ("history", {"author": "a\0b"}, 422, "invalid-request", "NUL"),
    ("status", {"repos": ["shop"], "scope": {"repos": ["shop"]}}, 422, "invalid-request", "not both"),
    ("status", {"repos": ["shpo"]}, 404, "unknown-repository", "did you mean 'shop'?"),
    *((tool, {"scope": {"groups": ["x"]}, **more}, 404, "unknown-repository", "no group 'x'")
      for tool, more in (("grep", {"pattern": "x"}), ("tree", {}), ("set_scope", {}))),
    ("set_scope", {}, 422, "invalid-request", "scope: Field required"),
    ("get_scope", {}, 422, "invalid-request", "scope_id: Field required"),
    ("get_scope", {"scope_id": "scope_../../etc"}, 404, "unknown-scope", "expired"),
    ("history", {"limit": 101}, 422, "invalid-request", "100"),
    ("diff", {"old": "2020-01-01", "unit": "spans"}, 400, "invalid-revision", "commit"),
    ("grep", {"pattern": "x", "cursor": "forged"}, 422, "invalid-request", "budget.next_cursor"),
    ("grep", {"pattern": "x", "cursor": "é"}, 422, "invalid-request", "budget.next_cursor"),
]  # fmt: skip


@asynccontextmanager
async def clients(base_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, Client[Any]]]:
    async with httpx.AsyncClient(base_url=base_url, timeout=60) as rest, Client(base_url + "/mcp", timeout=60) as mcp:
        yield rest, mcp


def refused(base_url: str, cases: list[tuple[str, dict[str, Any], int, str, str]], root: str) -> None:
    """All cases through one pair of clients; fails naming the case."""

    async def ask() -> None:
        async with clients(base_url) as (rest, mcp):
            for tool, arguments, status, code, said in cases:
                response = await rest.post(load(tool).path, json=arguments)
                named = f"{tool} {str(arguments)[:200]}: {response.text}"
                assert (response.status_code, response.json()["code"]) == (status, code), named
                assert response.headers["content-type"] == "application/problem+json", named
                assert said in response.json()["detail"], named
                assert "Traceback" not in response.text and root not in response.text, named
                result = await mcp.call_tool(tool, arguments, raise_on_error=False)
                assert result.is_error, named
                for field in ("code", "detail", "status"):
                    assert result.structured_content[field] == response.json()[field], named

    asyncio.run(ask())


@pytest.mark.parametrize("tool", SUMMARIES)
def test_own_arguments(base_url: str, workshop: Workshop, tool: str) -> None:
    refused(base_url, [case for case in CASES if case[0] == tool], str(workshop.home.root))


@pytest.mark.parametrize("tool", SUMMARIES)
def test_shared_arguments(base_url: str, workshop: Workshop, tool: str) -> None:
    cases = [(tool, LEAST[tool] | more, status, code, said) for more, status, code, said in SHARED]
    if tool == "status":  # it says of each repository what serves, globs and moments among the reasons
        cases = [case for case in cases if "paths" not in str(case[1]) and "languages" not in str(case[1])]
        cases = [case for case in cases if "as_of" not in str(case[1])]
    if tool == "get_scope":  # it takes a handle, and never a scope
        cases = [case for case in cases if "scope" not in case[1] or case[3] == "not both"]
    refused(base_url, cases, str(workshop.home.root))


@pytest.mark.parametrize("glob", ["[", "{a,b", "%", "_", "\\", "(", "a+b", "$"])
def test_globs_are_exact(http: httpx.Client, glob: str) -> None:
    for tool in ("grep", "tree", "symbols"):
        found = http.post(load(tool).path, json=LEAST[tool] | {"scope": {"paths": [glob]}})
        assert found.status_code == 200, found.text
        assert not any(found.json()[name] for name in ("lines", "entries", "symbols") if name in found.json())


def test_an_unknown_tool_is_an_error_of_the_protocol(base_url: str) -> None:
    async def ask() -> None:
        async with Client(base_url + "/mcp", timeout=60) as client:
            with pytest.raises(Exception, match="Unknown tool: 'serch'"):
                await client.call_tool("serch", {})

    asyncio.run(ask())


@pytest.mark.parametrize(("more", "is_warned"), [({}, False), ({"path": "store/publish.py"}, False), (None, True)])
def test_history_says_what_its_scope_does_not_do(
    http: httpx.Client, more: dict[str, str] | None, is_warned: bool
) -> None:
    """Commits are of whole repositories: a scope of paths would be taken for a filter that it is not."""
    asked = {"scope": {"paths": ["no/such/**"]}} if more is None else more
    said = http.post("/history", json=asked).json()
    assert any("only `path` narrows" in warning for warning in said["warnings"]) is is_warned
    assert said["commits"]
