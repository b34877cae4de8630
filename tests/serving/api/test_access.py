"""Access over HTTP and MCP: who shows no key gets nothing, and what a key may not see does not exist for it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from tenants import Tenant
from workshop import Workshop

from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def services(tenant_services: Services) -> Services:
    """The tenants' server is the one that answers here."""
    return tenant_services


def new_key(shared: Workshop, *permissions: Permission, **more: Any) -> dict[str, str]:
    secret, _ = keys.create(shared.home.keys, permissions=permissions, repos=["*"], **more)
    return {"X-API-Key": secret}


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    assert found["code"] == code
    return found


REQUESTS = [
    ("POST", "/search", {"query": "ledger"}),
    ("POST", "/answer", {"question": "ledger"}),
    ("POST", "/read", {"targets": ["amber-repo:shared/common.py"]}),
    ("GET", "/status", None),
    ("GET", "/metrics", None),
    ("GET", "/nowhere", None),
    ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
def test_without_a_key_nothing_answers(http: httpx.Client, method: str, path: str, body: Any) -> None:
    none = http.request(method, path, json=body)
    assert_problem(none, 401, "unauthorized")
    assert none.headers["www-authenticate"] == 'Bearer realm="codeintel"'
    for junk in ("Bearer x", "Bearer ci_000000000000_" + "0" * 64, "Basic YTpi", "Bearer " + "ä" * 500):
        refused = http.request(method, path, json=body, headers={b"Authorization": junk.encode("latin-1")})
        assert_problem(refused, 401, "unauthorized")
        assert 'error="invalid_token"' in refused.headers["www-authenticate"]


def test_health_answers_without_a_key_but_gives_no_reasons(http: httpx.Client, tenants: tuple[Tenant, Tenant]) -> None:
    assert http.get("/livez").status_code == 200
    assert {check["reason"] for check in http.get("/readyz").json()["checks"].values()} == {""}
    assert http.get("/openapi.json").status_code == 200


def test_a_missing_permission_is_named(http: httpx.Client, shared: Workshop) -> None:
    reader = new_key(shared, Permission.READ)
    assert http.post("/search", json={"query": "ledger"}, headers=reader).status_code == 200
    for method, path, body, permission in (
        ("POST", "/answer", {"question": "ledger"}, "answer"),
        ("GET", "/metrics", None, "telemetry"),
    ):
        refused = http.request(method, path, json=body, headers=reader)
        assert f"'{permission}'" in assert_problem(refused, 403, "forbidden")["detail"]
        assert f'error="insufficient_scope", scope="{permission}"' in refused.headers["www-authenticate"]
    writer = new_key(shared, Permission.ANSWER)
    assert http.post("/answer", json={"question": "ledger"}, headers=writer).status_code == 200
    for method, path, body in REQUESTS[:1] + REQUESTS[2:4]:
        assert_problem(http.request(method, path, json=body, headers=writer), 403, "forbidden")


def test_a_revoked_key_ends_at_once_in_a_running_server(http: httpx.Client, shared: Workshop) -> None:
    headers = new_key(shared, Permission.READ)
    assert http.get("/status", headers=headers).status_code == 200
    keys.revoke(shared.home.keys, headers["X-API-Key"])
    assert_problem(http.get("/status", headers=headers), 401, "unauthorized")


def test_what_is_not_allowed_is_answered_as_what_is_unknown(http: httpx.Client, tenants: tuple[Tenant, Tenant]) -> None:
    mine, other = tenants
    for path, body in (
        ("/search", {"query": "balance", "scope": {"repos": ["NAME"]}}),
        ("/search", {"query": "balance", "scope": {"groups": ["NAME"]}}),
        ("/answer", {"question": "balance", "scope": {"repos": ["NAME"]}}),
        ("/read", {"targets": ["shared/common.py"], "scope": {"repos": ["NAME"]}}),
    ):
        said = set()
        for name in ("birch-repo", "cedar-repo", other.group, "cedar-group"):
            refused = http.post(
                path,
                content=str(body).replace("'", '"').replace("NAME", name),
                headers={**mine.headers, "Content-Type": "application/json"},
            )
            found = assert_problem(refused, 404, "unknown-repository")
            said.add(found["detail"].replace(name, "NAME"))
        assert len(said) == 1, said
        assert not any(name in str(said) for name in (other.repo, other.group))


def test_groups_bring_in_the_repositories_of_the_caller(http: httpx.Client, tenants: tuple[Tenant, Tenant]) -> None:
    mine, _ = tenants
    found = http.post("/search", json={"query": "balance", "scope": {"groups": [mine.group]}}, headers=mine.headers)
    assert found.json()["coverage"]["searched"] == [mine.repo]


def test_a_key_for_nothing_that_exists_sees_nothing(http: httpx.Client, shared: Workshop) -> None:
    secret, _ = keys.create(shared.home.keys, permissions=list(Permission), repos=["nothing-*"])
    headers = {"Authorization": f"Bearer {secret}"}
    assert_problem(http.post("/search", json={"query": "balance"}, headers=headers), 409, "not-indexed")
    assert http.get("/status", headers=headers).json()["repositories"] == []


def test_too_many_requests_are_told_when_to_come_back(http: httpx.Client, shared: Workshop) -> None:
    headers = new_key(shared, Permission.READ, rate_limit="3/hour")
    for _ in range(3):
        assert http.get("/status", headers=headers).status_code == 200
    for method, path, body in REQUESTS:
        if path == "/metrics":
            continue
        refused = http.request(method, path, json=body, headers=headers)
        assert_problem(refused, 429, "rate-limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 3600
    assert http.get("/livez", headers=headers).status_code == 200


def test_mcp_sees_what_its_key_sees(base_url: str, tenants: tuple[Tenant, Tenant]) -> None:
    mine, other = tenants

    async def scenario() -> None:
        transport = StreamableHttpTransport(base_url + "/mcp", headers=mine.headers)
        async with Client(transport, timeout=60) as client:
            state = await client.call_tool("status", {})
            assert [r["repo"] for r in state.structured_content["repositories"]] == [mine.repo]
            found = await client.call_tool("search", {"query": f"balance {other.canary}"})
            assert {hit["repo"] for hit in found.structured_content["results"]} == {mine.repo}
            refused = await client.call_tool("read", {"targets": [f"{other.repo}:{other.path}"]}, raise_on_error=False)
            assert refused.structured_content["code"] == "unknown-repository"

    asyncio.run(scenario())
