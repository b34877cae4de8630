"""Ledger, logs, spans and AnswerTrace of 200 mixed requests join without an orphan; every step has one status."""

from __future__ import annotations

import json
import logging
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from running import running, until
from workshop import Workshop, settings_for

from codeintel_core.reports.run_report import run_report
from codeintel_core.telemetry import Status, ledger, providers
from codeintel_core.telemetry import steps as steps_module
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e

REQUESTS = 200
KINDS = ("search", "answer", "stream", "read", "bad", "unknown", "tight")


@pytest.fixture
def spans() -> Iterator[Spans]:
    """What this process exports."""
    exporter = InMemorySpanExporter()
    yield Spans(exporter, providers.use(exporter))
    providers.shutdown()


@dataclass
class Spans:
    """Exported spans."""

    exporter: InMemorySpanExporter
    made: providers.Providers

    def by_id(self) -> dict[str, ReadableSpan]:
        """All that ended, however long detectors and export take: a shutdown waits two seconds for them."""
        assert self.made.traces is not None
        assert self.made.traces.force_flush()
        return {f"{span.context.span_id:016x}": span for span in self.exporter.get_finished_spans() if span.context}


class _Steps(logging.Handler):
    """Log events of steps."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    """Of a logger of its own: an export that ends in the background resets the level of the other one."""
    logger, handler = logging.Logger("codeintel.steps", logging.DEBUG), _Steps()
    logger.addHandler(handler)
    monkeypatch.setattr(steps_module, "_log", logger)
    return handler.records


def _ask(http: httpx.Client, kind: str, number: int) -> str:
    """Send one request; returns its run id."""
    run_id = str(uuid.uuid4())
    headers = {"X-Run-Id": run_id}
    question = f"how is generation {number} published atomically?"
    if kind == "search":
        http.post("/search", json={"query": question}, headers=headers).raise_for_status()
    elif kind == "answer":
        http.post("/answer", json={"question": question}, headers=headers).raise_for_status()
    elif kind == "stream":
        stream = {**headers, "Accept": "text/event-stream"}
        http.post("/answer", json={"question": question}, headers=stream).raise_for_status()
    elif kind == "read":
        http.post("/read", json={"targets": ["shop:store/journal.py"]}, headers=headers).raise_for_status()
    elif kind == "bad":
        http.post("/search", json={"query": " "}, headers=headers)
    elif kind == "unknown":
        http.post("/search", json={"query": "x", "scope": {"repos": ["nope"]}}, headers=headers)
    else:
        http.post("/answer", json={"question": question, "time_budget_ms": 1}, headers=headers)
    return run_id


def _rows(workshop: Workshop) -> dict[str, dict[str, Any]]:
    lines = [line for path in workshop.home.trace_journal.rglob("*.jsonl") for line in path.read_text().splitlines()]
    return {row["run_id"]: row for row in map(json.loads, lines)}


def test_everything_joins(workshop: Workshop, spans: Spans, events: list[logging.LogRecord]) -> None:
    chance = random.Random(7)
    asked = [chance.choice(KINDS) for _ in range(REQUESTS)]
    with (
        Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services,
        running(services) as url,
        httpx.Client(base_url=url, timeout=60) as http,
        ThreadPoolExecutor(4) as pool,
    ):
        services.warm()
        ids = dict(zip(pool.map(lambda at: _ask(http, asked[at], at), range(REQUESTS)), asked, strict=True))
    traces_of: dict[str, str] = {}
    steps: dict[str, dict[str, Any]] = {}
    for run_id, kind in ids.items():
        lines = ledger.read(workshop.home.ledger, run_id)
        begun = Counter(line["span_id"] for line in lines if line["event"] == "begin")
        ended = Counter(line["span_id"] for line in lines if line["event"] == "end")
        assert begun == ended, (kind, lines)
        assert set(begun.values()) <= {1}
        for line in lines:
            if line["event"] == "end":
                steps[line["span_id"]] = line
                assert line["status"] in set(Status)
            if line["event"] == "run":
                traces_of[run_id] = line["trace_id"]
        if kind != "bad":
            assert run_report(workshop.home, run_id).status != "died"
    # ledger -> spans, of the same trace
    until(lambda: steps.keys() <= spans.by_id().keys())  # nobody waits for a thread that is late to tell of its step
    finished = spans.by_id()
    for span_id, line in steps.items():
        span = finished[span_id]
        assert span.context is not None
        assert f"{span.context.trace_id:032x}" == traces_of[line["run_id"]]
        assert (span.attributes or {})["codeintel.step"] == line["kind"]
        assert (span.attributes or {})["codeintel.status"] == line["status"]
    # spans -> ledger, of these requests; a runpack is made of the finished ledger, which cannot hold its making
    ours = {int(trace_id, 16) for trace_id in traces_of.values()}
    orphans = [
        span.name for span_id, span in finished.items()
        if "codeintel.step" in (span.attributes or {}) and span.context and span.context.trace_id in ours
        and span_id not in steps and span.name != "runpack.build"
    ]  # fmt: skip
    assert orphans == []
    # logs -> ledger, and back
    logged = {record.span_id: record for record in events if record.run_id in ids}  # type: ignore[attr-defined]
    assert logged.keys() == steps.keys()
    # trace rows -> runs, and back
    rows = {run_id: row for run_id, row in _rows(workshop).items() if run_id in ids}
    with_rows = {run_id for run_id, kind in ids.items() if kind not in ("read", "bad")}
    assert {run_id: ids[run_id] for run_id in with_rows - rows.keys()} == {}
    for run_id, row in rows.items():
        assert row["otel_trace_id"] == traces_of[run_id]
        mine = Counter((line["kind"], line["status"]) for line in steps.values() if line["run_id"] == run_id)
        told = Counter((stage["name"], stage["status"]) for stage in row["stages"])
        assert mine - told == Counter({("trace.write", "completed"): 1})
        assert told - mine == Counter()
