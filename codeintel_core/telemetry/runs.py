"""Runs: one request or build, its ids, its ledger file and its steps. `run` opens one; steps find it by context."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind

from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry import metrics, providers
from codeintel_core.telemetry.conventions import Status
from codeintel_core.telemetry.ledger import Ledger
from codeintel_core.telemetry.spans import Value

if TYPE_CHECKING:
    from codeintel_core.telemetry.steps import Step

CANCELLATIONS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)
_SETTLE_TRIES = 50
STILL_OPEN = "still running when its run ended"
_current_run: ContextVar[Run | None] = ContextVar("codeintel_run", default=None)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A finished step."""

    kind: str
    status: Status
    reason: str
    start_ms: float  # since the start of the run
    duration_ms: float
    attributes: dict[str, Value]
    span_id: str = ""
    parent_id: str = ""
    detail: str = ""
    """What went wrong, in words, without secrets and paths; '' when nothing did or nobody may know."""


@dataclass
class Run:
    """One request or build: its ids, its ledger file and the steps that ended so far."""

    operation: str
    run_id: str
    session_id: str
    trace_id: str
    ledger: Ledger | None
    span: trace.Span = trace.INVALID_SPAN
    is_lazy: bool = False
    """Leaves no ledger unless it has a step of its own."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_monotonic: float = field(default_factory=time.monotonic)
    steps: list[StepRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open: dict[str, Step] = {}
        self._lock = threading.Lock()
        self._is_closed = self._has_header = False
        self.section = f"{self.span.get_span_context().span_id:016x}"

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the run started."""
        return round((time.monotonic() - self.started_monotonic) * 1000, 3)

    def ledger_line(self, line: Mapping[str, Any]) -> None:
        """Append a line to the run's ledger with its ids and the time since its start."""
        if self.ledger is None:
            return
        self.write_header()
        self.ledger.write({"run_id": self.run_id, "section": self.section, "ms": self.elapsed_ms, **line})

    def begin(self, step: Step, line: Mapping[str, Any]) -> None:
        """Note a step that starts; after the run nothing is noted."""
        with self._lock:
            if self._is_closed:
                return
            self._open[step.span_id] = step
        self.ledger_line(line)

    def add(self, record: StepRecord) -> None:
        """Keep a finished step and write its end line; a step that the run does not wait for any more is dropped."""
        with self._lock:
            if self._open.pop(record.span_id, None) is None:
                return
            self.steps.append(record)
        self.ledger_line(
            {
                "event": "end",
                "kind": record.kind,
                "span_id": record.span_id,
                "parent_id": record.parent_id,
                "status": record.status.value,
                "reason": record.reason,
                "detail": record.detail,
                "start_ms": record.start_ms,
                "duration_ms": record.duration_ms,
                "attributes": record.attributes,
            }
        )

    def settle(self) -> None:
        """End the steps that still run as cancelled: none of a finished run is left without a status."""
        with self._lock:
            left = list(self._open.values())
        for step in left:
            step.end(Status.CANCELLED, STILL_OPEN)
        for _ in range(_SETTLE_TRIES):  # a thread may be between ending its step and handing the record over
            if not self._open:
                return
            time.sleep(0.001)

    def close(self, status: str) -> None:
        """Settle, write the last line, close the ledger."""
        self.settle()
        with self._lock:
            self._is_closed = True
        if self.ledger is not None:
            if self._has_header or not self.is_lazy:
                self.ledger_line({"event": "done", "status": status})
            self.ledger.close()

    def write_header(self) -> None:
        """Write the first line, once."""
        with self._lock:
            if self._has_header or self.ledger is None:
                return
            self._has_header = True
        self.ledger.write(
            {
                "run_id": self.run_id,
                "section": self.section,
                "ms": 0.0,
                "event": "run",
                "operation": self.operation,
                "trace_id": self.trace_id,
                "session_id": self.session_id,
                "at": self.started_at.isoformat(),
            }
        )


@contextmanager
def run(
    operation: str,
    ledger_folder: Path | None,
    *,
    run_id: str = "",
    session_id: str = "",
    is_lazy: bool = False,
    name: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Context | None = None,
    attributes: Mapping[str, Value] | None = None,
) -> Iterator[Run]:
    """Open a run: a root span, a ledger file, and the context in which `step` records.

    Args:
        operation: bounded name such as `search`, `answer` or `build`.
        ledger_folder: `Home.ledger`, or None to keep no ledger.
        run_id: a well-formed UUID; anything else is replaced by a new one.
        session_id: the caller's session, at most 200 characters are kept.
        is_lazy: write the ledger only when a step starts.
        name, kind, attributes: of the span; its name is the operation by default.
        parent: a remote parent; the span that is current is then linked instead.
    """
    run_id = well_formed_run_id(run_id)
    current = _started(operation, ledger_folder, run_id, session_id[:200], is_lazy, name, kind, parent, attributes)
    token = _current_run.set(current)
    status = "ok"
    if not is_lazy:
        current.write_header()
    try:
        with trace.use_span(current.span, record_exception=False, set_status_on_exception=False):
            yield current
    except BaseException as error:
        status = "cancelled" if isinstance(error, CANCELLATIONS) else "error"
        raise
    finally:
        _current_run.reset(token)
        _ended(current, status)


def _started(
    operation: str,
    ledger_folder: Path | None,
    run_id: str,
    session_id: str,
    is_lazy: bool,
    name: str,
    kind: SpanKind,
    parent: Context | None,
    attributes: Mapping[str, Value] | None,
) -> Run:
    around = trace.get_current_span().get_span_context()
    links = [trace.Link(around)] if parent is not None and around.is_valid and not around.is_remote else []
    span = providers.start_span(name or operation, kind, parent, links)
    context = span.get_span_context()
    current = Run(
        operation=operation,
        run_id=run_id,
        session_id=session_id,
        trace_id=f"{context.trace_id:032x}" if context.is_valid else uuid.uuid4().hex,
        ledger=Ledger(ledger_folder, run_id, is_lazy=is_lazy) if ledger_folder is not None else None,
        span=span,
        is_lazy=is_lazy,
    )
    if span.is_recording():
        viewed = names.VIEWED.get(operation, names.Viewed.CHAIN)
        span.set_attributes({names.RUN_ID: run_id, names.OPENINFERENCE_KIND: viewed.value})
        span.set_attributes({key: value for key, value in (attributes or {}).items() if value is not None})
        if session_id:
            span.set_attribute(names.SESSION_ID, session_id)
    return current


def _ended(current: Run, status: str) -> None:
    """Close the run; nothing that fails here reaches the request."""
    try:
        current.close(status)
        seconds = time.monotonic() - current.started_monotonic
        metrics.observe(metrics.REQUEST_SECONDS.labels(current.operation, status), seconds, current.trace_id)
        if current.span.is_recording():
            current.span.set_attribute(names.STATUS, status)
            if status == "error":
                current.span.set_status(trace.StatusCode.ERROR)
        current.span.end()
    except Exception:  # telemetry never breaks a request
        metrics.TELEMETRY_ERRORS.inc()


def well_formed_run_id(run_id: str) -> str:
    """`run_id` as a canonical UUID if it is one, else a new one."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid4())


def current_run() -> Run | None:
    """The run this code works for, if any."""
    return _current_run.get()
