"""The AnswerTrace: one row for every search and answer, built from the run and its result."""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from codeintel_core.telemetry import Run, Status

MAY_BE_NAN = ("confidence", "time_to_first_token_ms", "tokens_per_second")
"""Columns that say NaN for "there is none"; JSON has no NaN, so journals hold null."""
_BAD = (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)


@dataclass(slots=True)
class AnswerTrace:
    """One row of `schemas.ANSWER_TRACES`; the columns are documented there."""

    run_id: str
    session_id: str
    otel_trace_id: str
    operation: str
    surface: str
    asked_at: datetime
    query: str
    scope: str
    mode: str
    retrieval_budget_ms: int
    total_budget_ms: int
    trace_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    query_kind: str = ""
    generations: list[dict[str, str]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    latency_ms: dict[str, float] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    answer: str = ""
    model: str = ""
    prompt_version: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    time_to_first_token_ms: float = float("nan")
    tokens_per_second: float = float("nan")
    finish: str = ""
    citations_verified: int = 0
    citations_dropped: int = 0
    confidence: float = float("nan")
    limits: list[str] = field(default_factory=list)
    status: str = "ok"
    error: str = ""
    stopped_because: str = ""

    def close(self, run: Run) -> AnswerTrace:
        """Take over the steps and times of the run; what still runs is ended as cancelled."""
        run.settle()
        self.stages = [
            {"name": s.kind, "status": s.status.value, "reason": s.reason, "start_ms": s.start_ms, "ms": s.duration_ms}
            for s in run.steps
        ]
        latency: dict[str, float] = defaultdict(float)
        for step in run.steps:
            latency[step.kind] += step.duration_ms
        self.latency_ms = {**latency, "total": run.elapsed_ms}
        bad = [s for s in run.steps if s.status in _BAD]
        self.stopped_because = f"{bad[-1].kind} {bad[-1].status}: {bad[-1].reason}" if bad else ""
        return self

    def as_row(self) -> dict[str, Any]:
        """Plain values; `asked_at` in ISO 8601, NaN as None, valid Unicode."""
        row = {one.name: getattr(self, one.name) for one in fields(self)}  # not `asdict`: it copies every list deeply
        row["asked_at"] = self.asked_at.isoformat()
        row["query"] = self.query.encode("utf-8", "replace").decode()  # lone surrogates are not JSON
        for name in MAY_BE_NAN:
            row[name] = None if row[name] != row[name] else row[name]
        return row
