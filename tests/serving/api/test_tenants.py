"""Two tenants, any request: whatever one asks, by REST or MCP, nothing that is only the other's ever comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import running
from tenants import Tenant, two_tenants
from workshop import Workshop, settings_for

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> Workshop:
    return Workshop(Home(tmp_path_factory.mktemp("home")), encoder)


@pytest.fixture(scope="module")
def tenants(shared: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tenant, Tenant]:
    return two_tenants(shared, tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def http(shared: Workshop, tenants: tuple[Tenant, Tenant]) -> Iterator[httpx.Client]:
    with Services(settings_for(shared.home), encoder=lambda: shared.encoder) as services:
        services.start()
        with running(services) as url, httpx.Client(base_url=url, timeout=60) as client:
            yield client


class Words:
    """Everything a curious tenant might try: the words of both, their paths, handles and generations."""

    def __init__(self, tenants: tuple[Tenant, Tenant], http: httpx.Client) -> None:
        self.texts = ["balance", "ledger", "canary", "zzz"]
        self.repos, self.groups, self.paths, self.handles, self.as_of = ["nope"], ["nope"], ["**", "a"], [""], [""]
        for one in tenants:
            self.texts += [one.canary, f"balance_{one.canary}", one.repo]
            self.repos += [one.repo, one.repo.upper(), f"../{one.repo}"]
            self.groups.append(one.group)
            self.paths += [one.path, f"{one.path.split('/')[0]}/**", "shared/common.py"]
            kept = http.post("/scope", json={"scope": {}}, headers={**one.headers, "X-Session-ID": "same"}).json()
            self.handles.append(kept["scope_id"])
            self.as_of += [kept["index"][0]["generation"], kept["index"][0]["commit"]]


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
    """A tool and its arguments, as MCP takes them."""
    text, scope = st.sampled_from(words.texts), scopes(words)
    place = st.builds("{}:{}".format, st.sampled_from(words.repos), st.sampled_from(words.paths))
    where = {"scope": scope, "scope_id": st.sampled_from(words.handles)}
    return st.one_of(
        st.tuples(st.just("search"), st.fixed_dictionaries({"query": text}, optional=where)),
        st.tuples(st.just("answer"), st.fixed_dictionaries({"question": text}, optional=where)),
        st.tuples(st.just("read"), st.fixed_dictionaries({"targets": st.lists(place, min_size=1, max_size=2)})),
        st.tuples(
            st.just("status"), st.fixed_dictionaries({}, optional={"repos": st.lists(st.sampled_from(words.repos))})
        ),
        st.tuples(st.just("set_scope"), st.fixed_dictionaries({"scope": scope})),
        st.tuples(st.just("get_scope"), st.fixed_dictionaries({"scope_id": st.sampled_from(words.handles)})),
    )


def sent(http: httpx.Client, tool: str, arguments: dict[str, Any], face: str, headers: dict[str, str]) -> str:
    """What comes back, headers and all."""
    if face == "mcp":
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
        accept = {"Accept": "application/json, text/event-stream"}
        found = http.post("/mcp", json=call, headers={**headers, **accept})
    elif tool in ("status", "get_scope"):
        found = http.get("/status" if tool == "status" else f"/scope/{arguments['scope_id'] or 'x'}", headers=headers)
    elif tool == "read":
        repo, _, path = arguments["targets"][0].partition(":")
        found = http.post("/files/read", json={"repo": repo, "path": path}, headers=headers)
    else:
        accept = {"Accept": "text/event-stream"} if face == "sse" else {}
        path = "/scope" if tool == "set_scope" else f"/{tool}"
        found = http.post(path, json=arguments, headers={**headers, **accept})
    assert found.status_code < 500, found.text
    return found.text + str(found.headers)


def test_nothing_of_one_tenant_reaches_the_other(
    http: httpx.Client, tenants: tuple[Tenant, Tenant], words: Words
) -> None:
    """What the asker wrote may be repeated to them, so only words that they did not write are looked for."""

    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
        found = sent(http, "search", {"query": "balance"}, "mcp", one.headers)
        assert all(secret in found for secret in (one.repo, one.canary, one.path))
        assert one.group in sent(http, "status", {}, "rest", one.headers)


def test_metrics_and_health_name_repositories_only_to_who_may_see_all(
    http: httpx.Client, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, other = tenants
    assert other.repo not in http.get("/readyz", headers=mine.headers).text
    assert other.repo not in http.get("/metrics", headers=mine.headers).text
