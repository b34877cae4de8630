"""A real OTLP receiver gets the whole of a request: one trace, its logs and metrics, and nothing it should not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastmcp import Client
from running import running
from workshop import Workshop, settings_for

from codeintel_core.errors import ModelUnavailable
from codeintel_core.telemetry import providers
from codeintel_serving.services import Services
from tests.fake_endpoint import FakeEndpoint, Reply, Request, completion, said, streamed
from tests.otlp import OtlpReceiver, Received

pytestmark = pytest.mark.e2e

GOLDEN = Path(__file__).parent / "golden_spans.json"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
QUESTION = "how is a generation published atomically?"


def _scores(request: Request) -> Reply:
    documents = request.body["documents"]
    return said({"data": [{"index": i, "score": 1.0 / (1 + i)} for i in reversed(range(len(documents)))]})


@contextmanager
def _models() -> Iterator[FakeEndpoint]:
    text = completion(["It is renamed ", "and swapped [1]."])
    routes = {
        "/v1/models": said({"data": [{"id": "m", "max_model_len": 16_384}]}),
        "/v1/chat/completions": streamed(text),
        "/v1/score": _scores,
    }
    with FakeEndpoint(routes) as fake:
        yield fake


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """Everything this process exports; providers are set up anew before and after."""
    with OtlpReceiver() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        monkeypatch.setattr(providers, "_SHUTDOWN_MS", 60_000)  # a shutdown then returns once everything has arrived
        providers.shutdown()
        yield found
        monkeypatch.undo()
        providers.shutdown()


@contextmanager
def served(workshop: Workshop) -> Iterator[tuple[httpx.Client, FakeEndpoint]]:
    with _models() as fake:
        models = {"chat_base_url": fake.url, "chat_model": "m", "rerank_base_url": fake.url, "rerank_model": "r"}
        settings = settings_for(workshop.home, result_cache=0, **models)
        with (
            Services(settings, encoder=lambda: workshop.encoder) as services,
            running(services) as url,
            httpx.Client(base_url=url, timeout=60) as http,
        ):
            yield http, fake


def _kinds(spans: list[Received]) -> set[str]:
    return {span.attributes["openinference.span.kind"] for span in spans}


def test_one_request_is_one_trace_to_every_backend(workshop: Workshop, receiver: OtlpReceiver) -> None:
    secret = "sk-canary987654321"
    with served(workshop) as (http, fake):
        question = f'{QUESTION} "publish_generation" {secret}'  # what is quoted is looked for in DuckDB
        answered = http.post("/answer", json={"question": question}, headers={"traceparent": TRACEPARENT}).json()
        sent = {request.path: request.headers["traceparent"] for request in fake.requests}
    providers.shutdown()
    spans = [span for span in receiver.spans if span.attributes.get("http.route") or span.trace_id == TRACE]
    assert {span.trace_id for span in spans} == {TRACE} == {answered["trace_id"]}
    by_id = {span.span_id: span for span in spans}
    (root,) = [span for span in spans if span.parent_id not in by_id]
    assert (root.name, root.parent_id, root.kind) == ("POST /answer", PARENT, 2)
    assert root.attributes["http.response.status_code"] == 200
    assert {"RETRIEVER", "RERANKER", "EMBEDDING", "LLM", "CHAIN"} <= _kinds(spans)
    assert {s.attributes.get("db.system.name") for s in spans} >= {"faiss", "lucene", "duckdb"}
    chat = next(span for span in spans if span.attributes["openinference.span.kind"] == "LLM")
    assert chat.name == "chat m"
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert by_id[sent["/v1/chat/completions"].split("-")[2]] is chat
    assert by_id[sent["/v1/score"].split("-")[2]].attributes["reranker.model_name"] == "r"
    embedding = next(span for span in spans if span.attributes["openinference.span.kind"] == "EMBEDDING")
    assert by_id[embedding.parent_id].name == "retrieve.dense"
    assert root.resource["service.name"] == "codeintel"
    assert {"service.version", "service.instance.id", "process.pid"} <= root.resource.keys()
    assert root.schema_url == "https://opentelemetry.io/schemas/1.44.0"

    steps = [record for record in receiver.logs if record.name == "codeintel.step"]
    mine = [record for record in steps if record.attributes["codeintel.run_id"] == answered["run_id"]]
    assert mine
    assert {record.span_id for record in mine} <= by_id.keys()
    assert {record.trace_id for record in mine} == {TRACE}
    assert receiver.metric_names >= {
        "http.server.request.duration", "db.client.operation.duration", "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage", "codeintel.step.duration",
    }  # fmt: skip
    everything = b"".join(receiver.raw)
    for never in (secret, QUESTION, "os.replace", "It is renamed", str(workshop.home.root)):
        assert never.encode() not in everything, never


def test_the_spans_are_the_golden_ones(workshop: Workshop, receiver: OtlpReceiver) -> None:
    """Names, kinds and attribute names of the spans of an answer."""
    with served(workshop) as (http, _):
        http.post("/answer", json={"question": QUESTION}, headers={"traceparent": TRACEPARENT}).raise_for_status()
    providers.shutdown()
    found = {}
    for span in receiver.spans:
        if span.trace_id == TRACE:
            found[span.name] = {"kind": span.kind, "attributes": sorted(span.attributes)}
    shown = json.dumps(found, indent=1, sort_keys=True) + "\n"
    if os.environ.get("WRITE_GOLDEN"):
        GOLDEN.write_text(shown)
    assert json.loads(shown) == json.loads(GOLDEN.read_text())


def test_an_mcp_call_continues_the_trace_of_its_meta_and_links_the_http_span(
    workshop: Workshop, receiver: OtlpReceiver
) -> None:
    with served(workshop) as (http, _):

        async def call() -> dict[str, str]:
            async with Client(f"{http.base_url}/mcp", timeout=60) as client:
                found = await client.call_tool("search", {"query": QUESTION}, meta={"traceparent": TRACEPARENT})
                return dict(found.meta)

        meta = asyncio.run(call())
    providers.shutdown()
    assert meta["trace_id"] == TRACE
    spans = [span for span in receiver.spans if span.trace_id == TRACE]
    (tool,) = [span for span in spans if span.parent_id == PARENT]
    assert tool.name == "tools/call search"
    assert tool.attributes["mcp.method.name"] == "tools/call"
    assert tool.attributes["openinference.span.kind"] == "TOOL"
    ((linked_trace, linked_span),) = tool.links
    http_span = next(span for span in receiver.spans if span.span_id == linked_span)
    assert http_span.trace_id == linked_trace != TRACE
    assert http_span.name.startswith("POST")
    assert {"RETRIEVER", "EMBEDDING"} <= _kinds(spans)


@pytest.mark.parametrize("sent", ["x", "00-0-0-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "x" * 10_000])
def test_a_garbage_traceparent_starts_a_new_trace(workshop: Workshop, receiver: OtlpReceiver, sent: str) -> None:
    with served(workshop) as (http, _):
        found = http.get("/livez", headers={"traceparent": sent})
    assert found.status_code == 200
    assert int(found.headers["X-Trace-Id"], 16) != 0


def test_an_exporter_that_is_down_or_hangs_changes_nothing(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)  # accepts nothing: the exporter waits for an answer that never comes
        for url in (f"http://127.0.0.1:{hole.getsockname()[1]}", "http://127.0.0.1:9"):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            providers.shutdown()
            with served(workshop) as (http, _):
                for _ in range(3):
                    answered = http.post("/search", json={"query": f"{QUESTION} {uuid.uuid4()}"}).json()
                    assert answered["results"]
                    report = http.get(f"/runs/{answered['run_id']}/report").json()
                    assert report["status"] == "ok"
    monkeypatch.undo()
    providers.shutdown()


def _no_encoder() -> None:
    raise ModelUnavailable("the tokenizer does not load")


def test_a_runpack_is_announced_in_the_trace_of_the_request_that_failed(
    workshop: Workshop, receiver: OtlpReceiver
) -> None:
    with Services(settings_for(workshop.home), encoder=_no_encoder) as services, running(services) as url:
        failed = httpx.post(f"{url}/search", json={"query": "x", "mode": "semantic"}, timeout=60).json()
    providers.shutdown()
    (pack,) = [span for span in receiver.spans if span.name == "runpack.build"]
    assert (pack.trace_id, pack.events) == (failed["trace_id"], ["runpack.ready"])
    (said,) = [record for record in receiver.logs if record.name == "runpack.ready"]
    assert said.attributes["codeintel.run_id"] == failed["runpack"]
    assert (said.trace_id, said.span_id) == (pack.trace_id, pack.span_id)


def test_notable_traces_are_kept_and_others_left(
    workshop: Workshop, receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEINTEL_TRACE_KEEP_RATIO", "0")
    monkeypatch.setenv("CODEINTEL_TRACE_SLOW_MS", "3600000")
    from codeintel_core.settings import get_settings

    get_settings.cache_clear()
    providers.shutdown()
    with served(workshop) as (http, _):
        quiet = http.get("/livez").headers["X-Trace-Id"]
        failed = http.post("/search", json={"query": "x", "scope": {"repos": ["nope"]}}).headers["X-Trace-Id"]
        flagged = http.post("/search", json={"query": "cart", "scope": {"paths": ["nothing/**"]}}).headers["X-Trace-Id"]
    providers.shutdown()
    kept = {span.trace_id for span in receiver.spans}
    assert failed in kept
    assert flagged in kept
    assert quiet not in kept
