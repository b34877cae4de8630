"""Handles over REST and MCP: later requests search what was set; forged, expired and foreign ones are unknown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from tenants import Tenant
from workshop import Workshop

from codeintel_core.reports.run_report import run_report
from codeintel_core.repository import mirror
from codeintel_core.telemetry import ledger
from codeintel_serving.scope.redis_backend import RedisBackend
from codeintel_serving.scope.store import ScopeStore
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def services(tenant_services: Services) -> Services:
    """The tenants' server is the one that answers here."""
    return tenant_services


@pytest.fixture
def http(base_url: str, tenants: tuple[Tenant, Tenant]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base_url, timeout=60, headers=tenants[0].headers) as client:
        yield client


def paths(found: httpx.Response) -> set[str]:
    assert found.status_code == 200, found.text
    return {hit["path"] for hit in found.json()["results"]}


def test_a_handle_stands_for_its_scope(http: httpx.Client, tenants: tuple[Tenant, Tenant]) -> None:
    mine, _ = tenants
    scope = {"paths": ["shared/**"]}
    kept = http.post("/scope", json={"scope": scope}).json()
    assert kept["scope"]["paths"] == scope["paths"]
    assert [(r["repo"], r["spans"]) for r in kept["repositories"]] == [(mine.repo, 1)]
    assert paths(http.post("/search", json={"query": "balance", "scope_id": kept["scope_id"]})) == {"shared/common.py"}
    again = http.get(f"/scope/{kept['scope_id']}").json()
    assert again["repositories"] == kept["repositories"]
    assert 0 < again["expires_in_s"] <= 3600
    answered = http.post("/answer", json={"question": "balance of ledger", "scope_id": kept["scope_id"]}).json()
    assert {c["path"] for c in answered["citations"]} == {"shared/common.py"}
    assert kept["scope_id"] != http.post("/scope", json={"scope": scope}).json()["scope_id"]


def test_a_scope_and_a_handle_together_are_refused(http: httpx.Client) -> None:
    handle = http.post("/scope", json={"scope": {}}).json()["scope_id"]
    body = {"query": "x", "scope_id": handle, "scope": {"paths": ["a"]}}
    assert http.post("/search", json=body).json()["code"] == "invalid-request"


def test_what_means_nothing_is_not_kept(http: httpx.Client) -> None:
    assert http.post("/scope", json={"scope": {"repos": ["nope"]}}).json()["code"] == "unknown-repository"
    assert http.post("/scope", json={"scope": {"paths": ["*" * 30]}}).json()["code"] == "invalid-request"


def test_forged_expired_and_foreign_handles_are_unknown_in_the_same_words(
    http: httpx.Client, tenants: tuple[Tenant, Tenant], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, other = tenants
    foreign = http.post("/scope", json={"scope": {}}, headers=other.headers).json()["scope_id"]
    monkeypatch.setattr(services.scopes, "_ttl_s", 0.001)
    expired = http.post("/scope", json={"scope": {}}).json()["scope_id"]
    time.sleep(0.01)
    said = set()
    for handle in (foreign, expired, "scope_" + "A" * 32, "x", "scope_../../etc", "\u00e4" * 10):
        for response in (
            http.post("/search", json={"query": "x", "scope_id": handle}),
            http.post("/answer", json={"question": "x", "scope_id": handle}),
            http.get(f"/scope/{handle.replace('/', '%2F')}") if "/" not in handle else None,
        ):
            if response is not None:
                assert (response.status_code, response.json()["code"]) == (404, "unknown-scope")
                said.add(response.json()["detail"])
    assert len(said) == 1


def test_a_session_has_a_scope_of_its_own(http: httpx.Client, tenants: tuple[Tenant, Tenant]) -> None:
    mine, other = tenants
    session = {"X-Session-ID": "s-1"}
    http.post("/scope", json={"scope": {"paths": ["shared/**"]}}, headers=session)
    assert paths(http.post("/search", json={"query": "balance"}, headers=session)) == {"shared/common.py"}
    named = http.post("/search", json={"query": "balance", "scope": {}}, headers=session)
    assert paths(named) == {"shared/common.py", mine.path}
    assert mine.path in paths(http.post("/search", json={"query": "balance"}, headers={"X-Session-ID": "s-2"}))
    theirs = http.post("/search", json={"query": "balance"}, headers={**other.headers, **session})
    assert other.path in paths(theirs), "the session of one caller is not that of another"


def test_a_session_whose_scope_nobody_can_tell_says_so(
    http: httpx.Client, tenants: tuple[Tenant, Tenant], services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = RedisBackend("redis://127.0.0.1:9/0", 5.0)  # nobody listens there
    monkeypatch.setattr(services.scopes, "backend", backend)
    monkeypatch.setattr(services.scopes, "store", ScopeStore(backend, 10))
    session = {"X-Session-ID": "s-lost"}
    for path, body in (
        ("/search", {"query": "balance"}),
        ("/answer", {"question": "balance of ledger"}),
        ("/grep", {"pattern": "balance"}),
    ):
        found = http.post(path, json=body, headers=session)
        assert found.status_code == 200, found.text
        (told,) = [warning for warning in found.json()["warnings"] if "session" in warning]
        assert told.startswith("if this session has set a scope, it was not applied: Redis does not answer")
        lines = ledger.read(services.home.ledger, found.json()["run_id"])
        opened = next(line for line in lines if line["event"] == "end" and line["kind"] == "scope.open")
        assert (opened["status"], opened["reason"]) == ("skipped", told)
        silent = http.post(path, json={**body, "scope": {}}, headers=session).json()["warnings"]
        assert not [warning for warning in silent if "session" in warning], "it names its scope"
        if path == "/answer":
            assert told in found.json()["limits"]


def test_what_is_refused_is_not_said_to_be_ok(http: httpx.Client, services: Services) -> None:
    refused = http.post("/search", json={"query": "x", "scope_id": "scope_" + "A" * 32})
    lines = ledger.read(services.home.ledger, refused.headers["X-Run-Id"])
    assert [line["status"] for line in lines if line["event"] == "done"] == ["refused"]
    report = run_report(services.home, refused.headers["X-Run-Id"])
    assert (report.operation, report.status) == ("http", "refused")
    assert report.stopped_because == "scope.open failed: unknown-scope"


def test_an_agent_sets_and_uses_a_scope_over_mcp(base_url: str, tenants: tuple[Tenant, Tenant]) -> None:
    mine, other = tenants

    async def scenario() -> None:
        async with Client(StreamableHttpTransport(base_url + "/mcp", headers=mine.headers), timeout=60) as client:
            kept = await client.call_tool("set_scope", {"scope": {"groups": [mine.group], "paths": ["shared/**"]}})
            handle = kept.structured_content["scope_id"]
            assert handle in kept.content[0].text
            found = await client.call_tool("search", {"query": "balance", "scope_id": handle})
            assert {hit["path"] for hit in found.structured_content["results"]} == {"shared/common.py"}
            again = await client.call_tool("get_scope", {"scope_id": handle})
            assert again.structured_content["scope"] == kept.structured_content["scope"]
        async with Client(StreamableHttpTransport(base_url + "/mcp", headers=other.headers), timeout=60) as client:
            for tool, more in (("get_scope", {}), ("search", {"query": "x"}), ("answer", {"question": "x"})):
                refused = await client.call_tool(tool, {"scope_id": handle, **more}, raise_on_error=False)
                assert refused.structured_content["code"] == "unknown-scope"

    asyncio.run(scenario())


def test_a_handle_follows_what_its_caller_may_see(
    http: httpx.Client, tenants: tuple[Tenant, Tenant], shared: Workshop, tmp_path: Path
) -> None:
    """It keeps the scope, not its result: a repository that is added later is in it, and only for who may see it."""
    kept: dict[str, Any] = http.post("/scope", json={"scope": {}}).json()
    source = tmp_path.parent / "sources-late"
    from workshop import new_repository

    new_repository(source, {"late.py": "def late_balance():\n    return 1\n"})
    mirror.add(shared.home, str(source), name="amber-late")
    shared.build("amber-late")
    names = [r["repo"] for r in http.get(f"/scope/{kept['scope_id']}").json()["repositories"]]
    assert names == ["amber-late", "amber-repo"]
