"""Pages in memory: byte for byte what a search answers but for its run, and only for who asked the same of the same."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import orjson
import pytest
from calling import call
from running import running, until
from tenants import Tenant
from workshop import Workshop, settings_for

from codeintel_core.generations.publish import current_id
from codeintel_core.generations.retention import drop
from codeintel_core.secrets import purged
from codeintel_core.secrets.purged import PurgeList
from codeintel_core.telemetry import ledger, metrics
from codeintel_core.traces import tables
from codeintel_core.traces.journal import days
from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.shared_pages import SharedPages, memory

pytestmark = pytest.mark.e2e
CALLER = Caller("rest")
_OF_RUN = ("run_id", "trace_id", "stages")
_SHARED = ("candidates", "fusion", "generations", "lags", "limits", "query", "query_digest", "query_kind", "scope",
           "mode", "status", "tuning_id")  # fmt: skip


@pytest.fixture
def fresh(workshop: Workshop) -> Iterator[Services]:
    """Services with nothing kept, whose lags stay known."""
    with Services(settings_for(workshop.home, watch_interval_s=600), encoder=lambda: workshop.encoder) as services:
        services.warm()
        yield services


def recalled(services: Services, request: SearchRequest, caller: Caller = CALLER) -> dict[str, Any] | None:
    found = services.recall(request, caller)
    return None if found is None else orjson.loads(found.json())


def rows(workshop: Workshop) -> dict[str, dict[str, Any]]:
    journal = workshop.home.trace_journal
    return {r["run_id"]: r for r in tables.read_day(tables.traces(workshop.home), days(journal)[-1]).to_pylist()}


@pytest.mark.parametrize(
    "arguments",
    [{}, {"explain": True}, {"detail": "concise", "limit": 2}, {"max_tokens": 100}, {"mode": "exact"},
     {"scope": {"paths": ["nowhere/**"]}}, {"scope": {"repos": ["shop"], "languages": ["python"]}}],
)  # fmt: skip
def test_a_page_in_memory_is_what_the_search_answered(
    fresh: Services, workshop: Workshop, arguments: dict[str, Any]
) -> None:
    request = SearchRequest.model_validate({"query": "publish_generation", **arguments})
    assert fresh.recall(request, CALLER) is None
    first = fresh.search(request, CALLER)
    again = fresh.search(request, CALLER)
    hits = metrics.CACHE_REQUESTS.labels("results", "hit")
    counted = hits._value.get()
    in_memory = fresh.recall(request, CALLER)
    assert in_memory is not None
    raw = in_memory.json()
    assert in_memory.response().model_dump_json().encode() == raw
    assert hits._value.get() == counted + 1
    found = orjson.loads(raw)
    same = again.model_copy(update={"run_id": found["run_id"], "trace_id": found["trace_id"], "stages": []})
    assert orjson.dumps(found | {"stages": []}) == orjson.dumps(orjson.loads(same.model_dump_json()))
    stages = orjson.dumps(found["stages"])
    assert raw == same.model_dump_json().encode().replace(b'"stages":[]', b'"stages":' + stages)
    assert [stage["name"] for stage in found["stages"]] == [stage.name for stage in again.stages]
    kept = rows(workshop)
    assert {name: kept[found["run_id"]][name] for name in _SHARED} == {n: kept[first.run_id][n] for n in _SHARED}
    lines = ledger.read(workshop.home.ledger, found["run_id"])
    assert [line["kind"] for line in lines if line["event"] == "end"] == [
        "scope.resolve", "cache.results", "index.freshness", "trace.write",
    ]  # fmt: skip


def test_other_arguments_have_pages_of_their_own(fresh: Services) -> None:
    fresh.search(SearchRequest(query="publish_generation"), CALLER)
    for changed in ({"query": "swap_pointer"}, {"limit": 2}, {"per_file": 1}, {"mode": "lexical"}, {"explain": True},
                    {"detail": "ids"}, {"max_tokens": 200}, {"scope": {"paths": ["web/**"]}},
                    {"scope": {"include_tests": False}}):  # fmt: skip
        request = SearchRequest.model_validate({"query": "publish_generation", **changed})
        assert fresh.recall(request, CALLER) is None, changed


def test_what_must_be_opened_first_is_left_to_the_search(fresh: Services, workshop: Workshop) -> None:
    request = SearchRequest(query="publish_generation")
    found = fresh.search(request, CALLER)
    for changed in ({"scope": {"as_of": found.index[0].generation}}, {"scope": {"groups": ["none"]}},
                    {"scope": {"repos": ["unknown"]}}, {"scope_id": "scope_x"}):  # fmt: skip
        other = SearchRequest.model_validate({"query": "publish_generation", **changed})
        assert fresh.recall(other, CALLER) is None, changed
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as cold:
        assert cold.recall(request, CALLER) is None
    with Services(settings_for(workshop.home, result_cache=0), encoder=lambda: workshop.encoder) as off:
        off.search(request, CALLER)
        assert off.recall(request, CALLER) is None


def test_a_new_generation_has_pages_of_its_own(fresh: Services, workshop: Workshop) -> None:
    request = SearchRequest(query="swap the pointer")
    before = fresh.search(request, CALLER)
    workshop.build("shop")
    fresh.warm()
    assert fresh.recall(request, CALLER) is None
    after = fresh.search(request, CALLER)
    now = recalled(fresh, request)
    assert now is not None
    assert now["index"][0]["generation"] == after.index[0].generation != before.index[0].generation


def test_what_is_purged_is_in_no_page_from_then_on(fresh: Services, workshop: Workshop) -> None:
    """While the generation that has it still serves: no rebuild, and no look of the watcher."""
    request = SearchRequest(query="recover_journal after a crash")
    assert "torn last line" in fresh.search(request, CALLER).model_dump_json()
    assert "torn last line" in str(recalled(fresh, request))

    purged.save(workshop.home.purged, PurgeList(patterns=("torn last line|recover_journal",)))
    assert fresh.recall(request, CALLER) is None
    found = fresh.search(request, CALLER)
    assert recalled(fresh, request) is not None
    (masked,) = [hit for hit in found.results if "and leave out a **************" in hit.snippet]
    assert (masked.path, masked.symbol) == ("store/journal.py", "*" * len("recover_journal"))
    answered = call(fresh, "answer", question=request.query)
    assert [citation.path for citation in answered.citations][:1] == ["store/journal.py"]
    for shown in (found, answered):
        assert "torn last line" not in shown.model_dump_json()
    assert "def recover" not in found.model_dump_json() + answered.model_dump_json()

    purged.save(workshop.home.purged, PurgeList(paths=frozenset({("shop", "store/journal.py")})))
    assert fresh.recall(request, CALLER) is None
    hits = fresh.search(request, CALLER).results
    assert hits
    assert "store/journal.py" not in [hit.path for hit in hits]
    purged.save(workshop.home.purged, PurgeList())
    assert "torn last line" in fresh.search(request, CALLER).model_dump_json()


def test_a_purge_drops_every_page(fresh: Services, workshop: Workshop) -> None:
    request = SearchRequest(query="recover_journal")
    fresh.search(request, CALLER)
    repository = workshop.home.repository("shop")
    old = str(current_id(repository))
    purged.save(workshop.home.purged, PurgeList(paths=frozenset({("shop", "store/journal.py")})))
    workshop.build("shop")
    drop(repository, [old])
    fresh.warm()
    assert not fresh._searching._pages._kept
    assert not fresh.results._memo._kept
    assert fresh.recall(request, CALLER) is None


def test_nobody_gets_the_page_of_who_sees_more(
    tenant_services: Services, tenants: tuple[Tenant, Tenant], shared: Workshop
) -> None:
    request = SearchRequest(query="balance canary")
    callers = [Caller("rest", principal=tenant_services.keys.principal(tenant.key)) for tenant in tenants]
    for caller, tenant in zip(callers, tenants, strict=True):
        assert tenant_services.recall(request, caller) is None
        assert tenant.canary in tenant_services.search(request, caller).model_dump_json()
    for caller, mine, other in zip(callers, tenants, reversed(tenants), strict=True):
        until(lambda caller=caller: tenant_services.search(request, caller) and tenant_services.recall(request, caller))
        tenant_services.search(request, caller)
        in_memory = tenant_services.recall(request, caller)
        assert in_memory is not None
        raw = in_memory.json()
        assert mine.canary in raw.decode()
        assert not any(secret in raw.decode() for secret in other.secrets)
    secret, _ = keys.create(shared.home.keys, permissions=[Permission.ANSWER], repos=["amber-*"])
    assert tenant_services.recall(request, Caller("rest", principal=tenant_services.keys.principal(secret))) is None


def test_what_one_worker_has_shown_the_others_know(workshop: Workshop) -> None:
    descriptor = memory(64)
    request, narrower = SearchRequest(query="publish_generation"), SearchRequest(query="publish_generation", limit=2)
    settings = settings_for(workshop.home, watch_interval_s=600)
    with ExitStack() as stack:
        one, other = (stack.enter_context(Services(settings, encoder=lambda: workshop.encoder)) for _ in range(2))
        for worker in (one, other):
            worker.warm()
            worker.share_pages(SharedPages(descriptor))
            worker.search(SearchRequest(query="its lags are known now"), CALLER)
        first = one.search(request, CALLER)
        found = recalled(other, request)
        assert found is not None
        assert found | dict.fromkeys(_OF_RUN) == first.model_dump(mode="json") | dict.fromkeys(_OF_RUN)
        assert other.recall(narrower, CALLER) is None
        stages = other.search(narrower, CALLER).stages
        assert "retrieve.gather" in [stage.name for stage in stages]
        assert one.recall(narrower, CALLER) is not None
        kept = rows(workshop)
        assert {n: kept[found["run_id"]][n] for n in _SHARED} == {n: kept[first.run_id][n] for n in _SHARED}

        one._searching.forget()  # as after a purge: each forgets its own, and what all share
        assert one.recall(request, CALLER) is None
        other._searching.forget()
        assert other.recall(request, CALLER) is None
    os.close(descriptor)


def test_tools_answer_again_from_memory_until_something_changes(fresh: Services, workshop: Workshop) -> None:
    asked: dict[str, dict[str, Any]] = {
        "grep": {"pattern": "swap"},
        "symbols": {"name": "swap_pointer", "relation": "both"},
        "tree": {},
        "overview": {},
    }

    def answered() -> tuple[dict[str, Any], set[str]]:
        """What each tool answers but for its run, and those that answered from memory."""
        found = {name: call(fresh, name, **arguments).model_dump(mode="json") for name, arguments in asked.items()}
        kept = {name for name, one in found.items() if "cache.results" in [stage["name"] for stage in one["stages"]]}
        assert len({one["run_id"] for one in found.values()}) == len(found)
        return {name: {k: v for k, v in one.items() if k not in _OF_RUN} for name, one in found.items()}, kept

    first, again = answered(), answered()
    assert (first[1], again[1]) == (set(), set(asked))
    assert first[0] == again[0]
    purged.save(workshop.home.purged, PurgeList(patterns=("swap_pointer",)))
    masked, kept = answered()
    assert kept == set()
    assert "swap_pointer" not in str(masked["grep"]["lines"])
    workshop.build("shop")
    fresh.warm()
    assert answered()[1] == set()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many searches did not come from memory."""
    asked: list[SearchRequest] = []
    real = Services.find

    def find(self: Services, request: SearchRequest, caller: Caller) -> object:
        asked.append(request)
        return real(self, request, caller)

    monkeypatch.setattr(Services, "find", find)
    return lambda: len(asked)


def test_over_http_the_same_bytes_are_answered_in_the_loop(
    fresh: Services, workshop: Workshop, counted: Callable[[], int]
) -> None:
    with running(fresh) as url, httpx.Client(base_url=url, timeout=60) as http:
        body = {"query": "publish_generation", "scope": {"repos": ["shop"]}}
        first, again = http.post("/search", json=body), http.post("/search", json=body)
        assert counted() == 1
        assert again.headers["x-run-id"] == again.json()["run_id"] != first.json()["run_id"]
        assert again.headers["content-type"] == first.headers["content-type"]
        parts = [{k: v for k, v in one.json().items() if k not in _OF_RUN} for one in (first, again)]
        assert parts[0] == parts[1]
        assert again.headers["x-run-id"] in rows(workshop)
        # Only POST, only JSON, only this address; what is not valid stays not valid.
        raw = httpx.Request("POST", "/search", json=body).content
        assert http.post("/search", content=raw, headers={"Content-Type": "text/plain"}).status_code == 422
        assert http.put("/search", json=body).status_code == 405
        assert http.post("/grep", json=body).status_code == 422
        assert counted() == 1
        # A session's scope is opened first.
        session = {"X-Session-ID": "narrow"}
        http.post("/scope", json={"scope": {"paths": ["web/**"]}}, headers=session)
        for _ in range(2):
            narrow = http.post("/search", json={"query": "publish_generation"}, headers=session).json()
            assert {hit["path"] for hit in narrow["results"]} <= {"web/cart.js"}
        wide = http.post("/search", json={"query": "publish_generation"}).json()
        assert "store/publish.py" in {hit["path"] for hit in wide["results"]}


def test_a_tool_called_again_does_not_search(fresh: Services, workshop: Workshop, counted: Callable[[], int]) -> None:
    first, again = (call(fresh, "search", query="publish_generation").model_dump(mode="json") for _ in range(2))
    assert counted() == 1
    assert again["run_id"] != first["run_id"]
    assert again["run_id"] in rows(workshop)
    assert {k: v for k, v in again.items() if k not in _OF_RUN} == {k: v for k, v in first.items() if k not in _OF_RUN}


def test_keys_and_rates_hold_for_what_is_in_memory(
    tenant_services: Services, shared: Workshop, tenants: tuple[Tenant, Tenant]
) -> None:
    body = {"query": "balance of the ledger"}
    with running(tenant_services) as url, httpx.Client(base_url=url, timeout=60) as http:
        secret, key = keys.create(
            shared.home.keys, permissions=[Permission.READ], repos=["amber-*"], rate_limit="4/hour"
        )
        headers = {"X-API-Key": secret}
        assert [http.post("/search", json=body, headers=headers).status_code for _ in range(5)] == [200] * 4 + [429]
        assert http.post("/search", json=body, headers=tenants[0].headers).status_code == 200
        assert http.post("/search", json=body).status_code == 401
        keys.revoke(shared.home.keys, key.id)
        assert http.post("/search", json=body, headers=headers).status_code == 401
