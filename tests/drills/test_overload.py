"""Drills of one server: too many clients, clients that leave, clocks that jump, a JVM that fails (7, 8, 11, 12)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.fake_encoder import FakeEncoder
from codeintel_core.errors import LexicalUnavailable
from codeintel_core.home import Home
from codeintel_core.indexes import lexical
from codeintel_core.repository import mirror
from codeintel_core.telemetry import metrics
from codeintel_core.telemetry.ledger import read as read_ledger
from codeintel_serving.answer import citations
from codeintel_serving.services import Services
from tests.drills.conftest import settings_for
from tests.serving.running import running, until
from tests.serving.workshop import FILES, Workshop, new_repository

pytestmark = pytest.mark.e2e
QUESTION = {"question": "publish_generation"}
CAPACITY = 8


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("overload")
    workshop = Workshop(Home(folder / "home"), FakeEncoder())  # type: ignore[arg-type]
    mirror.add(workshop.home, str(new_repository(folder / "shop", FILES)), name="shop")
    workshop.build("shop")
    settings = settings_for(workshop.home, concurrent_answers=CAPACITY, result_cache=0)
    with Services(settings, encoder=FakeEncoder) as wired:  # type: ignore[arg-type]
        wired.start()
        yield wired


@pytest.fixture(scope="module")
def url(services: Services) -> Iterator[str]:
    with running(services) as url:
        yield url


class Held:
    """Calls of a function that wait inside until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.entered = 0
        self.release = threading.Event()
        real = getattr(owner, name)

        def held(*arguments: Any, **options: Any) -> Any:
            self.entered += 1
            assert self.release.wait(60)
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, held)


def in_flight(kind: str) -> float:
    return metrics.REGISTRY.get_sample_value("codeintel_in_flight", {"kind": kind}) or 0.0


def test_100_clients_on_8_slots(services: Services, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight are admitted and answered, 92 are told when to come back; searches, health and metrics do not notice."""
    held = Held(monkeypatch, citations, "verify")
    limits = httpx.Limits(max_connections=200)
    with httpx.Client(base_url=url, timeout=120, limits=limits) as client, ThreadPoolExecutor(100) as pool:
        asked = [pool.submit(client.post, "/answer", json=QUESTION) for _ in range(100)]
        try:
            until(lambda: sum(one.done() for one in asked) == 100 - CAPACITY)
            until(lambda: held.entered == CAPACITY)
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").status_code == 200
            assert f'codeintel_in_flight{{kind="answer"}} {CAPACITY}.0' in client.get("/metrics").text
            assert client.post("/search", json={"query": "publish_generation"}).status_code == 200
        finally:
            held.release.set()
        done = [one.result(60) for one in asked]
    assert Counter(one.status_code for one in done) == {503: 100 - CAPACITY, 200: CAPACITY}
    refused = [one for one in done if one.status_code == 503]
    told = {(one.headers["retry-after"], one.json()["code"], one.json()["runpack"]) for one in refused}
    assert told == {("1", "overloaded", "")}  # no runpack: packing would be work, about a run that did none
    assert not list(services.home.runpacks.glob("*.zip"))
    assert in_flight("answer") == 0


def leave_during(url: str, tool: str, asked: dict[str, str], run_id: str, accept: str, is_there: Any) -> None:
    """Ask, wait for a point in time, and close the connection."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    body = json.dumps(asked).encode()
    head = (
        f"POST /{tool} HTTP/1.1\r\nHost: localhost\r\nX-Run-ID: {run_id}\r\nAccept: {accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        until(is_there)


def ledger_of(services: Services, run_id: str) -> list[dict[str, Any]]:
    return read_ledger(services.home.ledger, run_id)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("stage", ["scope.resolve", "retrieve", "cite.verify"])
def test_a_client_that_leaves_frees_its_slot_and_stops_its_work(
    services: Services, url: str, monkeypatch: pytest.MonkeyPatch, stage: str, accept: str
) -> None:
    owner, name = {
        "scope.resolve": (services.library, "pin_in_time"),
        "retrieve": (services.results, "search"),
        "cite.verify": (citations, "verify"),
    }[stage]
    held = Held(monkeypatch, owner, name)
    run_id = f"{len(stage):08x}-0000-4000-8000-{abs(hash(accept)) % 10**12:012d}"
    try:
        leave_during(url, "answer", QUESTION, run_id, accept, lambda: held.entered == 1)
        until(lambda: ledger_of(services, run_id)[-1]["event"] == "done")
        assert ledger_of(services, run_id)[-1]["status"] == "cancelled"
        until(lambda: in_flight("answer") == 0)
    finally:
        held.release.set()
    ended = {line["kind"] for line in ledger_of(services, run_id) if line["event"] == "end"}
    assert "synthesize" not in ended


@pytest.mark.parametrize(("tool", "asked"), [("search", {"query": "publish"}), ("grep", {"pattern": "publish"})])
def test_a_tool_whose_client_left_frees_its_slot_and_is_cancelled(
    services: Services, url: str, monkeypatch: pytest.MonkeyPatch, tool: str, asked: dict[str, str]
) -> None:
    """Its thread cannot be stopped from outside: it stops at its next look, and the slot does not wait for it."""
    held = Held(monkeypatch, services.library, "pin_in_time")
    run_id = f"{len(tool):08x}-0000-4000-8000-000000000008"
    try:
        leave_during(url, tool, asked, run_id, "application/json", lambda: held.entered == 1)
        until(lambda: in_flight("search") == 0)
    finally:
        held.release.set()
    until(lambda: ledger_of(services, run_id)[-1]["event"] == "done")
    assert ledger_of(services, run_id)[-1]["status"] == "cancelled"


def test_jumping_clocks_change_no_budget_and_end_no_scope(
    services: Services, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        handle = client.post("/scope", json={"scope": {}}).json()["scope_id"]
        real = time.time
        for jump_s in (86_400.0, -86_400.0):
            monkeypatch.setattr(time, "time", lambda jump_s=jump_s: real() + jump_s)
            assert client.post("/answer", json={**QUESTION, "scope_id": handle}).status_code == 200


def test_without_a_jvm_vectors_answer(tmp_path: Path, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The JVM does not start: lexical search is missing, said so everywhere, and the rest answers."""

    def no_jvm(*_: object) -> None:
        raise LexicalUnavailable("the JVM does not start: no libjvm")

    monkeypatch.setattr(lexical.LexicalIndex, "__init__", no_jvm)
    settings = settings_for(services.home)
    with (
        Services(settings, encoder=FakeEncoder) as broken,  # type: ignore[arg-type]
        running(broken) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        broken.warm()
        found = client.post("/search", json={"query": "publish a generation"}).json()
        assert found["results"]
        assert "JVM does not start" in found["coverage"]["degraded"]["lexical"]
        assert any("lexical channel" in warning for warning in found["warnings"])
        ready = client.get("/readyz").json()
        assert (ready["state"], ready["checks"]["jvm"]["status"]) == ("degraded", "down")
        only = client.post("/search", json={"query": "publish", "mode": "lexical"})
        assert (only.status_code, only.json()["code"]) == (503, "retrieval-unavailable")
        assert only.json()["stage"].startswith("retrieve")


def test_a_jvm_that_hangs_is_left_behind(services: Services, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lexical search does not come back: it is timed out, and vectors answer within the budget."""
    held = Held(monkeypatch, lexical.LexicalSearcher, "search_owned")
    monkeypatch.setattr(services.engine, "_settings", services.settings.model_copy(update={"retrieval_budget_ms": 300}))
    try:
        with httpx.Client(base_url=url, timeout=60) as client:
            found = client.post("/search", json={"query": "how does publishing work"}).json()
        assert found["results"]
        assert found["coverage"]["degraded"]["lexical"].startswith("timed_out")
    finally:
        held.release.set()
