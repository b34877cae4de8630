"""Two tenants, any request: whatever one asks, by REST or MCP, nothing that is only the other's ever comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenants import Tenant
from workshop import Workshop

from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from codeintel_serving.services import Services
from codeintel_serving.tools.registry import SUMMARIES, load

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def services(tenant_services: Services) -> Services:
    """The tenants' server is the one that answers here."""
    return tenant_services


@pytest.fixture(scope="module")
def http(base_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=60) as client:
        yield client


class Words:
    """Everything a curious tenant might try: the words of both, their paths, handles and generations."""

    def __init__(self, tenants: tuple[Tenant, Tenant], http: httpx.Client) -> None:
        self.texts = ["balance", "ledger", "canary", "zzz"]
        self.repos, self.groups, self.paths, self.handles, self.as_of = ["nope"], ["nope"], ["**", "a"], [""], [""]
        self.revisions = ["HEAD", "HEAD~1", "main"]
        for one in tenants:
            self.texts += [one.canary, f"balance_{one.canary}", one.repo]
            self.repos += [one.repo, one.repo.upper(), f"../{one.repo}"]
            self.groups.append(one.group)
            self.paths += [one.path, f"{one.path.split('/')[0]}/**", "shared/common.py"]
            kept = http.post("/scope", json={"scope": {}}, headers={**one.headers, "X-Session-ID": "same"}).json()
            self.handles.append(kept["scope_id"])
            self.as_of += [kept["index"][0]["generation"], kept["index"][0]["commit"]]
            self.revisions += self.as_of[-2:]


@pytest.fixture(scope="module")
def words(tenants: tuple[Tenant, Tenant], http: httpx.Client) -> Words:
    return Words(tenants, http)


def scopes(words: Words) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "repos": st.lists(st.sampled_from(words.repos), max_size=2),
            "groups": st.lists(st.sampled_from(words.groups), max_size=1),
            "paths": st.lists(st.sampled_from(words.paths), max_size=2),
            "as_of": st.sampled_from(words.as_of),
        },
    )


def calls(words: Words) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A tool and its arguments."""
    asked = arguments(words)
    assert asked.keys() == SUMMARIES.keys(), "every tool is tried"
    return st.one_of([st.tuples(st.just(tool), given) for tool, given in asked.items()])


def arguments(words: Words) -> dict[str, st.SearchStrategy[dict[str, Any]]]:
    """The arguments of each tool: what it must have, and what it may."""
    text, scope = st.sampled_from(words.texts), scopes(words)
    paths, handle, revision = (st.sampled_from(given) for given in (words.paths, words.handles, words.revisions))
    place = st.one_of(paths, st.builds("{}:{}".format, st.sampled_from(words.repos), paths))
    symbol_at = st.builds("{}#{}".format, place, text)
    where = {"scope": scope, "scope_id": handle}
    files = st.lists(st.one_of(place, symbol_at), min_size=1, max_size=2)
    repos = st.lists(st.sampled_from(words.repos))
    shapes: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "search": ({"query": text}, where),
        "answer": ({"question": text}, where),
        "grep": ({"pattern": text}, where | {"group_by": st.sampled_from(["file", "folder", "repo"])}),
        "symbols": ({}, where | {"name": text, "pattern": text, "relation": st.sampled_from(["definition", "both"])}),
        "read": ({"targets": files}, where),
        "tree": ({}, where | {"path": place}),
        "overview": ({}, where | {"focus": text}),
        "history": ({}, where | {"path": place, "text": text, "author": text, "diff": st.booleans()}),
        "blame": ({"path": place}, where | {"revision": revision}),
        "diff": ({"old": revision}, where | {"new": revision, "unit": st.sampled_from(["lines", "spans"])}),
        "status": ({}, where | {"repos": repos, "paths": st.lists(place, max_size=2), "generation": revision}),
        "set_scope": ({"scope": scope}, {}),
        "get_scope": ({"scope_id": handle}, {}),
    }
    return {tool: st.fixed_dictionaries(must, optional=may) for tool, (must, may) in shapes.items()}


def sent(http: httpx.Client, tool: str, arguments: dict[str, Any], face: str, headers: dict[str, str]) -> str:
    """What comes back, headers and all."""
    if face == "mcp":
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        accept = {"Accept": "application/json, text/event-stream"}
        found = http.post("/mcp", json=call, headers={**headers, **accept})
    elif face == "sse" and tool in ("status", "get_scope"):  # their other form
        found = http.get("/status" if tool == "status" else f"/scope/{arguments['scope_id'] or 'x'}", headers=headers)
    else:
        accept = {"Accept": "text/event-stream"} if face == "sse" else {}
        found = http.post(load(tool).path, json=arguments, headers={**headers, **accept})
    assert found.status_code < 500, found.text
    return found.text + str(found.headers)


def test_nothing_of_one_tenant_reaches_the_other(
    http: httpx.Client, tenants: tuple[Tenant, Tenant], words: Words
) -> None:
    """What the asker wrote may be repeated to them, so only words that they did not write are looked for."""

    @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, 1), calls(words), st.sampled_from(["rest", "sse", "mcp"]), st.booleans())
    def holds(who: int, call: tuple[str, dict[str, Any]], face: str, has_session: bool) -> None:
        mine, other = tenants[who], tenants[1 - who]
        headers = mine.headers | ({"X-Session-ID": "same"} if has_session else {})
        answer = sent(http, *call, face, headers)
        written = json.dumps(call[1])
        for secret in other.secrets:
            assert secret in written or secret not in answer, (mine.repo, call, face, answer)

    holds()


def test_the_test_can_see_a_leak(http: httpx.Client, tenants: tuple[Tenant, Tenant]) -> None:
    """The owner of the words does get them, by the same ways."""
    for one in tenants:
        for tool, asked in (
            ("search", {"query": "balance"}),
            ("grep", {"pattern": "balance"}),
            ("symbols", {"pattern": "balance.*"}),
            ("history", {"diff": True}),
        ):
            found = sent(http, tool, asked, "mcp", one.headers)
            assert all(secret in found for secret in (one.repo, one.canary, one.path)), tool
        assert one.group in sent(http, "status", {}, "rest", one.headers)
        for tool in ("tree", "overview"):
            assert one.repo in sent(http, tool, {}, "rest", one.headers)
        assert one.path in sent(http, "blame", {"path": one.path}, "rest", one.headers)


def test_every_tool_needs_its_permission(http: httpx.Client, shared: Workshop) -> None:
    """A key for everything but what the tool needs is refused by it, and its own kind of key is not."""
    for tool in SUMMARIES:
        (asked,) = load(tool).request.model_json_schema()["examples"]
        needed = Permission.ANSWER if tool == "answer" else Permission.READ
        others = [permission for permission in Permission if permission is not needed]
        for permissions, is_refused in ((others, True), ([needed], False)):
            key, _ = keys.create(shared.home.keys, permissions=permissions, repos=["*"], label=tool, rate_limit="none")
            found = sent(http, tool, asked, "mcp", {"X-API-Key": key})
            assert ('"forbidden"' in found) is is_refused, (tool, found)


def test_metrics_and_health_name_repositories_only_to_who_may_see_all(
    http: httpx.Client, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, other = tenants
    assert other.repo not in http.get("/readyz", headers=mine.headers).text
    assert other.repo not in http.get("/metrics", headers=mine.headers).text
