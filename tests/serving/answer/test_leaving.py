"""Drills 6 and 8: a client that leaves, or a deadline that passes, stops the work at whatever stage it is.

Every stage really hangs: retrieval in a DuckDB query that never ends, the models at an endpoint that says nothing.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from running import running, until
from workshop import Workshop, settings_for

from codeintel_core.catalog import Catalog
from codeintel_core.database import Query
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.scope import Scope
from codeintel_core.telemetry.ledger import read as read_ledger
from codeintel_core.traces import tables
from codeintel_core.traces.journal import days
from codeintel_serving.answer import orchestrator
from codeintel_serving.models import AnswerRequest, ScopeModel
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.fake_endpoint import FakeEndpoint, Reply, completion, said, streamed
from tests.tasks import assert_none_goes_on

pytestmark = pytest.mark.e2e

# With a filter definitions are looked up in a thread of their own, which may hang; without one it cannot be held up.
SCOPE = ScopeModel(paths=["**"])
QUESTION = "how does `publish_generation` publish a generation atomically?"
MODELS = said({"data": [{"id": "fake", "max_model_len": 16_384}]})
SILENT = Reply(200, [], {"content-type": "text/event-stream"}, hangs=True)
HALF = streamed(completion(["It is ", "renamed [1]."], finish=None, done=False), hangs=True)
STAGES = {
    "retrieval": ("retrieve.symbols", {}),
    "rerank": ("rerank", {"/v1/score": SILENT}),
    "chat, before its first token": ("synthesize", {"/v1/chat/completions": SILENT}),
    "chat, in the middle": ("synthesize", {"/v1/chat/completions": HALF}),
}


def endless(catalog: Catalog, names: Sequence[str], scope: Scope, limit: int) -> Any:
    """In place of `Catalog.definitions`: a real query that ends only by being interrupted."""
    return catalog._database.rows(
        Query("SELECT count(*) FROM range(1000000000000) AS r(n)").where("n % $seven = 3", seven=7)
    )


@contextmanager
def hanging(stage: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Services, FakeEndpoint]]:
    """Services of which one stage hangs, and their endpoint."""
    routes = {"/v1/models": MODELS, "/v1/chat/completions": streamed(completion(["Done [1]."])), **STAGES[stage][1]}
    with FakeEndpoint(routes) as endpoint:
        models = {"chat_base_url": endpoint.url, "chat_model": "fake", "chat_idle_ms": 60_000}
        if stage == "rerank":
            models |= {"rerank_base_url": endpoint.url, "rerank_model": "fake", "rerank_budget_ms": 60_000}
        if stage == "retrieval":
            monkeypatch.setattr(Catalog, "definitions", endless)
        with Services(settings_for(workshop.home, **models), encoder=lambda: workshop.encoder) as services:
            services.warm()
            yield services, endpoint


def has_begun(stage: str, services: Services, endpoint: FakeEndpoint, run_id: str) -> bool:
    """Whether the stage hangs already."""
    if stage != "retrieval":
        return any(request.path != "/v1/models" for request in endpoint.requests)
    return any(line.get("kind") == "retrieve.symbols" for line in ledger(services, run_id))


def ledger(services: Services, run_id: str) -> list[dict[str, Any]]:
    return read_ledger(services.home.ledger, run_id)


def is_over(services: Services, run_id: str) -> bool:
    return any(line["event"] == "done" for line in ledger(services, run_id))


def is_idle(services: Services) -> bool:
    """Whether every thread that works for answers waits for work."""
    pool = services._pool
    return not pool._work_queue.qsize() and pool._idle_semaphore._value == len(pool._threads)


def statuses(services: Services, run_id: str) -> dict[str, str]:
    """Status of every step that ended; one that began only is `open`."""
    found: dict[str, str] = {}
    for line in ledger(services, run_id):
        if line["event"] in ("begin", "end"):
            found[line["kind"]] = line.get("status", "open")
    return found


def row_of(services: Services, run_id: str) -> dict[str, Any]:
    table = tables.traces(services.home)
    rows = [row for day in days(table.journals) for row in tables.read_day(table, day).to_pylist()]
    (row,) = [row for row in rows if row["run_id"] == run_id]
    return row


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("stage", STAGES)
def test_a_client_that_leaves(stage: str, accept: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with hanging(stage, workshop, monkeypatch) as (services, endpoint), running(services) as url:
        body = orjson.dumps({"question": QUESTION, "scope": SCOPE.model_dump(mode="json")})
        run_id = str(uuid.uuid4())
        head = (
            f"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nX-Run-Id: {run_id}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        where = urlsplit(url)
        with socket.create_connection((str(where.hostname), where.port or 0)) as client:
            client.sendall(head.encode() + body)
            until(lambda: has_begun(stage, services, endpoint, run_id))
        until(lambda: is_over(services, run_id))
        found = statuses(services, run_id)
        assert found[STAGES[stage][0]] == "cancelled", found
        # Native code (the embedded model) ends by itself, perhaps after the ledger was closed.
        assert {kind for kind, status in found.items() if status == "open"} <= {"embed.query"}, found
        assert row_of(services, run_id)["status"] == "cancelled"
        until(lambda: is_idle(services))
        if stage != "retrieval":
            until(lambda: endpoint.left_early == 1)


@pytest.mark.parametrize("stage", STAGES)
def test_a_total_deadline_with_a_stage_that_hangs(
    stage: str, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(services: Services) -> Any:
        request = AnswerRequest(question=QUESTION, scope=SCOPE, time_budget_ms=300)
        found = None
        with suppress(DeadlineExceeded):  # on a slow machine the stages before may use all of it
            found = await orchestrator.answer(services, request, Caller("cli"))
        await assert_none_goes_on()
        await services.aclose()
        return found

    with hanging(stage, workshop, monkeypatch) as (services, endpoint):
        found = asyncio.run(ask(services))
        until(lambda: is_idle(services))
        if found is not None:
            assert found.limits
            assert any(one.status == "timed_out" for one in found.stages), found.stages
        until(lambda: endpoint.left_early == sum(len(endpoint.asked(path)) for path in STAGES[stage][1]))
