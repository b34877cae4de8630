"""The AnswerTrace: one row for every search and answer, built from the run and its result."""

from __future__ import annotations

import socket
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from codeintel_core.secrets import redacted_value
from codeintel_core.telemetry import Run, Status, StepRecord, metrics, redaction
from codeintel_core.telemetry.position import new_uuid
from codeintel_core.traces.journal import Journal

_MAY_BE_NAN = ("confidence", "time_to_first_token_ms", "tokens_per_second")
"""Columns that say NaN for "there is none"; JSON has no NaN, so journals hold null."""
READ = "read"
"""Kind of the feedback row that a server writes when a session reads a file; the others are what callers say."""
_OF_REQUEST = frozenset(
    {"trace_id", "run_id", "session_id", "otel_trace_id", "surface", "asked_at", "lags", "stages", "latency_ms",
     "limits", "status", "error", "stopped_because"}
)  # fmt: skip
"""Columns that differ between two requests for the same page."""
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
    trace_id: str = field(default_factory=new_uuid)
    query_kind: str = ""
    generations: list[dict[str, str]] = field(default_factory=list)
    lags: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    latency_ms: dict[str, float] = field(default_factory=dict)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    fusion: list[dict[str, Any]] = field(default_factory=list)
    tuning_id: str = ""
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
    masked: Mapping[str, bytes] = field(default_factory=dict)
    """`shared` of a row of the same page: these columns are what is stored, whatever the fields here hold."""

    def close(self, run: Run) -> AnswerTrace:
        """Take over the steps and times of the run; what still runs is ended as cancelled."""
        run.settle()
        self.stages = stage_rows(run.steps)
        latency: dict[str, float] = defaultdict(float)
        for step in run.steps:
            latency[step.kind] += step.duration_ms
        self.latency_ms = {**latency, "total": run.elapsed_ms}
        bad = [s for s in run.steps if s.status in _BAD]
        self.stopped_because = f"{bad[-1].kind} {bad[-1].status}: {bad[-1].reason}" if bad else ""
        return self

    def as_row(self) -> dict[str, Any]:
        """Plain values; `asked_at` in ISO 8601, NaN as None, valid Unicode."""
        return self.of_request() | self.of_page() | {name: orjson.loads(it) for name, it in self.masked.items()}

    def shared(self) -> dict[str, bytes]:
        """What all requests for the same page have, as it is stored: the `masked` of their rows."""
        return {name: redacted_value(value) for name, value in self.of_page().items()}

    def of_request(self) -> dict[str, Any]:
        """What differs between two requests for the same page. Its strings are redacted, since steps are: many requests
        have the same few words here, and to look at a whole row costs a cached search a twentieth."""
        return {name: getattr(self, name) for name in _OF_REQUEST} | {
            "asked_at": self.asked_at.isoformat(),
            "session_id": redaction.masked(self.session_id),
            "limits": [redaction.masked(limit) for limit in self.limits],
        }

    def of_page(self) -> dict[str, Any]:
        """The other columns, as they are: of another page, or of an answer, which is made anew for each request."""
        row = {name: getattr(self, name) for name in _OF_PAGE}  # not `asdict`: it copies every list deeply
        row["query"] = self.query.encode("utf-8", "replace").decode()  # lone surrogates are not JSON
        row["query_digest"] = sha256(row["query"].strip().encode()).hexdigest()[:16]
        for name in _MAY_BE_NAN:
            row[name] = None if row[name] != row[name] else row[name]
        return row


def stage_rows(steps: Iterable[StepRecord]) -> list[dict[str, Any]]:
    """Steps as rows and responses have them."""
    return [
        {"name": s.kind, "status": s.status.value, "reason": s.reason, "start_ms": s.start_ms, "ms": s.duration_ms}
        for s in steps
    ]


_OF_PAGE = tuple(one.name for one in fields(AnswerTrace) if one.name not in _OF_REQUEST | {"masked"})


class TraceJournal(Journal):
    """The journal of AnswerTrace rows, with the machine they are of, without the texts that the settings keep out."""

    def __init__(self, folder: Path, *, queries: bool = True, answers: bool = True) -> None:
        super().__init__(folder)
        left_out = [name for name, is_kept in (("query", queries), ("answer", answers)) if not is_kept]
        self._fixed = {"machine": socket.gethostname()} | dict.fromkeys(left_out, "")

    def write(self, trace: AnswerTrace) -> bool:
        """Append one row; False when it could not be stored."""
        kept = {name: orjson.Fragment(value) for name, value in trace.masked.items()}
        try:
            page, clean = {} if kept else trace.of_page(), trace.of_request() | kept | self._fixed
        except (ValueError, TypeError):
            metrics.TRACES_DROPPED.inc()
            return False
        return self.append(trace.asked_at, page, clean)


@dataclass(frozen=True, slots=True)
class Feedback:
    """One row of `schemas.FEEDBACK`; the columns are documented there."""

    run_id: str
    kind: str
    session_id: str = ""
    surface: str = "cli"
    citation: int = 0
    repo: str = ""
    path: str = ""
    note: str = ""
    sees: tuple[str, ...] = ()
    given_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    feedback_id: str = field(default_factory=new_uuid)

    def write(self, journal: Journal) -> bool:
        """Append it; False when it could not be stored."""
        row = {one.name: getattr(self, one.name) for one in fields(self)} | {"given_at": self.given_at.isoformat()}
        return journal.append(self.given_at, row)
