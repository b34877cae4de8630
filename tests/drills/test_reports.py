"""Induced failures, one by one: the run report of each names the true cause."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.reports import views
from codeintel_core.reports.model import RunReport
from codeintel_core.reports.run_report import run_report
from codeintel_core.repository import mirror
from codeintel_serving.services import Services
from tests.fake_endpoint import FakeEndpoint, completion, said, streamed
from tests.serving.redis_server import redis_server
from tests.serving.running import running
from tests.serving.workshop import FILES, Workshop, new_repository, settings_for

pytestmark = pytest.mark.e2e

QUESTION = "how is a generation published atomically?"


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A home with one built repository."""
    root = tmp_path_factory.mktemp("reports")
    built = Workshop(Home(root / "home"), LocalEncoder(root / "models", "int8", threads=1))
    mirror.add(built.home, str(new_repository(root / "shop", FILES)), name="shop")
    built.build("shop")
    return built


@contextmanager
def _served(workshop: Workshop, **changes: object) -> Iterator[httpx.Client]:
    settings = settings_for(workshop.home, result_cache=0, **changes)
    with (
        Services(settings, encoder=lambda: workshop.encoder) as services,
        running(services) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        yield http


def _report(home: Home, answered: httpx.Response) -> RunReport:
    found = run_report(home, answered.headers["X-Run-Id"])
    text = views.markdown(found)
    print(text)  # `pytest -s` shows each report
    assert views.html(found)
    return found


def _kinds(report: RunReport) -> set[str]:
    return {finding.kind for finding in report.findings}


def test_the_reranker_is_off(workshop: Workshop) -> None:
    with _served(workshop, rerank_base_url="http://127.0.0.1:9/v1", rerank_model="r") as http:
        report = _report(workshop.home, http.post("/answer", json={"question": QUESTION}))
    assert report.stopped_because.startswith("rerank failed: model-unavailable: the rerank endpoint")
    assert "cannot be reached" in report.stopped_because
    assert report.coverage["rerank"].state == "failed"
    assert (report.status, "rerank_failed" in _kinds(report)) == ("degraded", True)


def test_no_reranker_is_configured(workshop: Workshop) -> None:
    with _served(workshop) as http:
        report = _report(workshop.home, http.post("/answer", json={"question": QUESTION}))
    assert (report.coverage["rerank"].state, report.coverage["rerank"].reason) == (
        "skipped",
        "no reranker is configured",
    )
    assert report.stopped_because == ""


def test_a_faiss_file_is_missing(tmp_path: Path, workshop: Workshop) -> None:
    damaged = Workshop(Home(tmp_path / "home"), workshop.encoder)
    mirror.add(damaged.home, str(new_repository(tmp_path / "shop", FILES)), name="shop")
    manifest = damaged.build("shop")
    (damaged.home.repository("shop").generation(manifest.gen_id) / "dense" / "primary.faiss").unlink()
    with _served(damaged) as http:
        failed = http.post("/search", json={"query": QUESTION})
        assert failed.status_code == 500
        report = _report(damaged.home, failed)
    assert report.status == "error"
    assert "generation-corrupt" in report.stopped_because
    assert "primary.faiss" in report.stopped_because
    assert report.steps[-1].kind == "trace.write"
    assert {step.kind for step in report.steps if step.status == "failed"} == {"generation.open", "scope.resolve"}


def test_the_chat_model_is_cut(workshop: Workshop) -> None:
    text = completion(["It is renamed and ", "swapped [1]", " and more "], finish=None, done=False)
    routes = {
        "/v1/models": said({"data": [{"id": "m", "max_model_len": 16_384}]}),
        "/v1/chat/completions": streamed(text, is_cut=True),
    }
    with FakeEndpoint(routes) as fake, _served(workshop, chat_base_url=fake.url, chat_model="m") as http:
        report = _report(workshop.home, http.post("/answer", json={"question": QUESTION}))
    assert report.stopped_because.startswith("synthesize failed: the connection broke")
    assert report.coverage["synthesize"].state in ("failed", "degraded")
    assert "synthesis_fell_back" in _kinds(report)
    assert report.outcome["finish"] == "truncated"


def test_the_chat_model_is_gone(workshop: Workshop) -> None:
    with _served(workshop, chat_base_url="http://127.0.0.1:9/v1", chat_model="m") as http:
        report = _report(workshop.home, http.post("/answer", json={"question": QUESTION}))
    assert report.stopped_because.startswith("prompt.build failed: model-unavailable: the chat endpoint")
    assert report.coverage["synthesize"].state == "ran"  # the extractive answer
    assert report.outcome["model"] == "extractive"


def test_the_catalog_cannot_be_read(tmp_path: Path, workshop: Workshop) -> None:
    damaged = Workshop(Home(tmp_path / "home"), workshop.encoder)
    mirror.add(damaged.home, str(new_repository(tmp_path / "shop", FILES)), name="shop")
    damaged.build("shop")
    with _served(damaged, verify_digests=False) as http:
        http.post("/search", json={"query": "cart", "mode": "exact"}).raise_for_status()
        with pytest.MonkeyPatch.context() as patch:
            from codeintel_core import catalog

            def closed(self: catalog.Catalog, *_: object) -> list[object]:
                self._database._connection.close()  # what DuckDB does after a fatal error
                return self._database._connection.cursor().execute("SELECT 1").fetchall()

            patch.setattr(catalog.Catalog, "matching", closed)
            failed = http.post("/search", json={"query": f"swap pointer {uuid.uuid4()}", "mode": "exact"})
        assert failed.status_code == 503
        report = _report(damaged.home, failed)
    assert report.stopped_because.startswith("retrieve.exact failed: ConnectionException: ")
    assert report.coverage["exact"].state == "failed"


def test_redis_is_down(workshop: Workshop) -> None:
    """Another worker's handle, which only Redis knows, is asked for while it is gone."""
    with redis_server() as redis:
        shared = {"redis_url": redis.url}
        with _served(workshop, **shared) as http:
            handle = http.post("/scope", json={"scope": {"paths": ["store/**"]}}).json()["scope_id"]
        with _served(workshop, **shared) as http:
            redis.kill()
            failed = http.post("/search", json={"query": QUESTION, "scope_id": handle})
            report = _report(workshop.home, failed)
    assert failed.status_code == 404
    assert any("Redis does not answer" in limit for limit in failed.json()["limits"])
    assert report.stopped_because.startswith("scope.fetch failed: Redis does not answer (ConnectionError)")
    assert [step.kind for step in report.steps] == ["scope.open", "scope.fetch"]


KILLED = """
import os, signal, sys
from pathlib import Path
from codeintel_core.home import Home
from codeintel_core.retrieval import engine
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.core.specimen import HashEncoder
from tests.serving.workshop import settings_for

engine._of_catalogs = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with Services(settings_for(Home(Path(sys.argv[1])), dense_device="cpu"), encoder=HashEncoder) as services:
    services.search(SearchRequest(query="cart total"), Caller("cli", sys.argv[2]))
"""


def test_a_server_is_killed_in_the_middle_of_a_request(workshop: Workshop) -> None:
    run_id = str(uuid.uuid4())
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(workshop.home.root), run_id], env=environment, check=False, timeout=120
    )
    assert done.returncode == -signal.SIGKILL
    report = run_report(workshop.home, run_id)
    print(views.markdown(report))
    assert report.status == "died"
    assert report.stopped_because == "hydrate.catalog open: the process died here"
    assert report.coverage["lexical"].state == "ran"
    assert report.coverage["hydrate"].state == "failed"
    assert _kinds(report) >= {"run_died", "fused_not_hydrated"}
