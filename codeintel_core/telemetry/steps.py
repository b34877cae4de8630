"""Steps: the one call per stage. A step becomes a span, a log event, two ledger lines and a histogram value.

Nothing else in the code base talks to these four directly. A `Run` groups the steps of one request or build.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from opentelemetry import trace

from codeintel_core.errors import CodeIntelError, DeadlineExceeded
from codeintel_core.secrets import redact, redact_values
from codeintel_core.telemetry import metrics
from codeintel_core.telemetry.conventions import KINDS, Status
from codeintel_core.telemetry.ledger import Ledger
from codeintel_core.telemetry.providers import tracer

_log = logging.getLogger("codeintel.steps")
_current_run: ContextVar[Run | None] = ContextVar("codeintel_run", default=None)

_CANCELLATIONS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class StepRecord:
    """A finished step."""

    kind: str
    status: Status
    reason: str
    start_ms: float  # since the start of the run
    duration_ms: float
    attributes: dict[str, Value]


class Step:
    """One stage of a run. Ends exactly once; whoever ends it first decides its status."""

    def __init__(self, kind: str, attributes: dict[str, Value]) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown step kind {kind!r}; the closed list is telemetry/conventions.py")
        self.kind = kind
        self._attributes = attributes
        self._run = _current_run.get()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._is_open = True
        self._skip_reason: str | None = None
        self._span = tracer().start_span(kind)
        if self._run is not None:
            self._run.ledger_line({"event": "begin", "kind": kind})

    def set(self, **attributes: Value) -> None:
        """Add small, bounded attributes (counts, ids, flags)."""
        self._attributes.update(attributes)

    def skip(self, reason: str) -> None:
        """Say that this stage decided not to run; the step ends as `skipped` with the reason."""
        self._skip_reason = reason

    def end(self, status: Status, reason: str = "") -> None:
        """End the step; later calls do nothing."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        seconds = time.monotonic() - self._started
        run = self._run
        start_ms = (self._started - run.started_monotonic) * 1000 if run else 0.0
        record = StepRecord(
            self.kind,
            status,
            redact(reason)[0],
            round(start_ms, 3),
            round(seconds * 1000, 3),
            redact_values(self._attributes),
        )
        try:
            self._publish(record, seconds)
        except Exception:  # telemetry never breaks a request
            metrics.TELEMETRY_ERRORS.inc()
        if run is not None:
            run.add(record)

    def _publish(self, record: StepRecord, seconds: float) -> None:
        metrics.STEP_SECONDS.labels(record.kind, record.status.value).observe(seconds)
        for key, value in record.attributes.items():
            if value is not None:
                self._span.set_attribute(f"codeintel.{key}", value)
        self._span.set_attribute("codeintel.status", record.status.value)
        if record.reason:
            self._span.set_attribute("codeintel.reason", record.reason)
        if record.status in (Status.FAILED, Status.TIMED_OUT):
            self._span.set_status(trace.StatusCode.ERROR, record.reason)
        self._span.end()
        run_id = self._run.run_id if self._run else ""
        _log.debug(
            "%s %s", record.kind, record.status,
            extra={"run_id": run_id, "kind": record.kind, "status": record.status.value, "reason": record.reason},
        )  # fmt: skip

    def __enter__(self) -> Self:
        self._scope = trace.use_span(self._span, record_exception=False, set_status_on_exception=False)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scope.__exit__(None, None, None)
        self.end(*_outcome(error, self._skip_reason))


def _outcome(error: BaseException | None, skip_reason: str | None) -> tuple[Status, str]:
    if error is None:
        return (Status.COMPLETED, "") if skip_reason is None else (Status.SKIPPED, skip_reason)
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return Status.TIMED_OUT, str(error)
    if isinstance(error, _CANCELLATIONS):
        return Status.CANCELLED, type(error).__name__
    return Status.FAILED, error.slug if isinstance(error, CodeIntelError) else type(error).__name__


def step(kind: str, **attributes: Value) -> Step:
    """Start a step of the current run; use as a context manager, or call `end` yourself.

    The status follows from how the block is left: normally `completed` (or `skipped` after `skip`), a deadline
    `timed_out`, a cancellation `cancelled`, any other exception `failed` with its slug or type as the reason.
    """
    return Step(kind, attributes)


@dataclass
class Run:
    """One request or build: its ids, its ledger file and the steps that ended so far."""

    operation: str
    run_id: str
    session_id: str
    trace_id: str
    ledger: Ledger | None
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_monotonic: float = field(default_factory=time.monotonic)
    steps: list[StepRecord] = field(default_factory=list)

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the run started."""
        return round((time.monotonic() - self.started_monotonic) * 1000, 3)

    def ledger_line(self, line: dict[str, Any]) -> None:
        """Append a line to the run's ledger with its ids and the time since its start."""
        if self.ledger is not None:
            self.ledger.write({"run_id": self.run_id, "ms": self.elapsed_ms, **line})

    def add(self, record: StepRecord) -> None:
        """Keep a finished step and write its end line."""
        self.steps.append(record)
        self.ledger_line(
            {
                "event": "end",
                "kind": record.kind,
                "status": record.status.value,
                "reason": record.reason,
                "start_ms": record.start_ms,
                "duration_ms": record.duration_ms,
                "attributes": record.attributes,
            }
        )


@contextmanager
def run(operation: str, ledger_folder: Path | None, *, run_id: str = "", session_id: str = "") -> Iterator[Run]:
    """Open a run: a root span, a ledger file, and the context in which `step` records.

    Args:
        operation: bounded name such as `search`, `answer` or `build`.
        ledger_folder: `Home.ledger`, or None to keep no ledger.
        run_id: a well-formed UUID; anything else is replaced by a new one.
        session_id: the caller's session, at most 200 characters are kept.
    """
    run_id = well_formed_run_id(run_id)
    with tracer().start_as_current_span(operation) as span:
        current = Run(
            operation=operation,
            run_id=run_id,
            session_id=session_id[:200],
            trace_id=f"{span.get_span_context().trace_id:032x}",
            ledger=Ledger(ledger_folder, run_id) if ledger_folder is not None else None,
        )
        token = _current_run.set(current)
        status = "ok"
        current.ledger_line({"event": "run", "operation": operation, "trace_id": current.trace_id,
                             "session_id": current.session_id, "at": current.started_at.isoformat()})  # fmt: skip
        try:
            yield current
        except BaseException as error:
            status = "cancelled" if isinstance(error, _CANCELLATIONS) else "error"
            raise
        finally:
            _current_run.reset(token)
            metrics.REQUEST_SECONDS.labels(operation, status).observe(time.monotonic() - current.started_monotonic)
            current.ledger_line({"event": "done", "status": status})
            if current.ledger is not None:
                current.ledger.close()


def well_formed_run_id(run_id: str) -> str:
    """`run_id` as a canonical UUID if it is one, else a new one."""
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return str(uuid.uuid4())


def current_run() -> Run | None:
    """The run this code works for, if any."""
    return _current_run.get()
