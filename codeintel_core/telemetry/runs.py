"""Runs: one request or build, its ids, its ledger file and its steps. `run` opens one; steps find it by context."""

from __future__ import annotations

import asyncio
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from codeintel_core.errors import CodeIntelError
from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry import lines as ledger_lines
from codeintel_core.telemetry import metrics, position, providers
from codeintel_core.telemetry.conventions import Outcome, Status
from codeintel_core.telemetry.ledger import Ledger
from codeintel_core.telemetry.position import Inside, Trace
from codeintel_core.telemetry.spans import Value

if TYPE_CHECKING:
    from codeintel_core.telemetry.steps import Step

CANCELLATIONS = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt)
_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SETTLE_TRIES = 250  # of a millisecond or more, for a thread to tell what it has ended; what it does later is late
STILL_OPEN = "still running when its run ended"
_current_run: ContextVar[Run | None] = ContextVar("codeintel_run", default=None)


class StepRecord(NamedTuple):
    """A finished step; its texts are redacted."""

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
    trace: Trace
    ledger: Ledger | None
    span_id: str = ""
    """Tells the lines of runs apart that share a file, as the assets of a Dagster run do."""
    span: Span = INVALID_SPAN
    is_lazy: bool = False
    """Leaves no ledger unless it has a step of its own."""
    caller: str = ""
    """Key id of who asked, where somebody did."""
    outcome: Outcome = Outcome.OK
    """What the caller got; an exception decides it, or the face that answered."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_monotonic: float = field(default_factory=time.monotonic)
    steps: list[StepRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open: dict[str, Step] = {}
        self._own: list[StepRecord] = []
        self._lock = threading.Lock()
        self._is_closed = self._has_header = False
        self._settled_by: int | None = None

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return self.trace.trace_id

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the run started."""
        return round((time.monotonic() - self.started_monotonic) * 1000, 3)

    @property
    def _is_over(self) -> bool:
        """Whether a step that starts here is nobody's any more.

        The run has ended, or its steps were gathered, and another thread than the one that did works on for nobody.
        """
        return self._is_closed or self._settled_by not in (None, threading.get_ident())

    def begin(self, step: Step) -> bool:
        """Note a step that starts; False when the run is over: nothing of it is noted."""
        with self._lock:
            if self._is_over:
                return False
            self._open[step.span_id] = step
            if self.ledger is not None:
                start_ms = (step.started - self.started_monotonic) * 1000
                line = ledger_lines.begin(self.run_id, self.span_id, start_ms, step.kind, step.span_id)
                self.ledger.append(line if self._has_header else self._header() + line)
            return True

    def add(self, record: StepRecord) -> None:
        """Keep a finished step and write its end line; a step that the run does not wait for any more is dropped."""
        with self._lock:
            if record.span_id not in self._open:
                return
            self._keep(record)
            if self.ledger is not None:
                self.ledger.append(ledger_lines.end(self.run_id, self.span_id, record))
            del self._open[record.span_id]  # not before it is written: `settle` waits for it

    def note(self, record: StepRecord) -> bool:
        """Keep a step that was over when it began, both lines in one write; False when the run is over."""
        with self._lock:
            if self._is_over:
                return False
            self._keep(record)
            if self.ledger is not None:
                line = ledger_lines.begin(self.run_id, self.span_id, record.start_ms, record.kind, record.span_id)
                line += ledger_lines.end(self.run_id, self.span_id, record)
                self.ledger.append(line if self._has_header else self._header() + line)
            return True

    def close(self) -> None:
        """End what still runs, write the last line, close the ledger."""
        with self._lock:
            self._is_closed = True
        self.settle()
        if self.ledger is not None:
            if self._has_header or not self.is_lazy:
                line = ledger_lines.done(self.run_id, self.span_id, self.elapsed_ms, self.outcome)
                self.ledger.append(line if self._has_header else self._header() + line)
            self.ledger.close()

    def settle(self) -> None:
        """End the steps that still run as cancelled: none of a finished run is left without a status."""
        with self._lock:
            self._settled_by = threading.get_ident()
            left = list(self._open.values())
        for step in left:
            step.end(Status.CANCELLED, STILL_OPEN)
        for _ in range(_SETTLE_TRIES):  # a thread may be between ending its step and handing the record over
            if not self._open:
                return
            time.sleep(0.001)
        with self._lock:
            left = list(self._open.values())
        for step in left:
            step.hand_over()

    def count(self) -> None:
        """Count the durations of its own steps: all in a row costs a fraction of each in its step."""
        for record in self._own:
            metrics.step_seconds(record.kind, str(record.status)).observe(record.duration_ms / 1000)

    def _keep(self, record: StepRecord) -> None:
        self._own.append(record)
        self.steps.append(record)  # to which others may add theirs, as a request does that is part of another

    def _header(self) -> bytes:
        """The first line; it is written together with the line after it."""
        self._has_header = True
        return ledger_lines.head(
            self.run_id, self.span_id, self.operation, self.trace_id, self.session_id, self.caller, self.started_at
        )


@contextmanager
def run(
    operation: str,
    ledger_folder: Path | None,
    *,
    run_id: str = "",
    session_id: str = "",
    caller: str = "",
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
        caller: key id of who asks, '' where nobody does.
        is_lazy: write the ledger only when a step starts.
        name, kind, attributes: of the span; its name is the operation by default.
        parent: a remote parent; the span that is current is then linked instead.
    """
    run_id = well_formed_run_id(run_id)
    span, of_trace, span_id = _span(name or operation, kind, parent)
    ledger = Ledger(ledger_folder, run_id) if ledger_folder is not None else None
    current = Run(operation, run_id, session_id[:200], of_trace, ledger, span_id, span, is_lazy, caller)
    if span.is_recording():
        _describe(current, attributes or {})
    token = _current_run.set(current)
    try:
        with Inside(current):
            yield current
    except BaseException as error:
        current.outcome = _outcome(error)
        raise
    finally:
        _current_run.reset(token)
        _ended(current)


def _outcome(error: BaseException) -> Outcome:
    if isinstance(error, CANCELLATIONS):
        return Outcome.CANCELLED
    return Outcome.of(error.status) if isinstance(error, CodeIntelError) else Outcome.ERROR


def _span(name: str, kind: SpanKind, parent: Context | None) -> tuple[Span, Trace, str]:
    """The span of a run with its ids; where nothing is exported they are all there is."""
    tracer = providers.get().tracer
    if tracer is not None:
        around = trace.get_current_span().get_span_context()
        links = [trace.Link(around)] if parent is not None and around.is_valid and not around.is_remote else []
        span = tracer.start_span(name, context=parent, kind=kind, links=links)
        of_trace, span_id = position.ids_of(span) or (position.new_trace(), position.new_span_id())
        return span, of_trace, span_id
    above = position.current()
    if parent is None and above is not None:
        return INVALID_SPAN, above.trace, position.new_span_id()
    found = position.ids_of(trace.get_current_span(parent))  # whoever embeds this program may have a span of his own
    return INVALID_SPAN, found[0] if found else position.new_trace(), position.new_span_id()


def _describe(current: Run, attributes: Mapping[str, Value]) -> None:
    viewed = names.VIEWED.get(current.operation, names.Viewed.CHAIN)
    current.span.set_attributes({names.RUN_ID: current.run_id, names.OPENINFERENCE_KIND: viewed.value})
    current.span.set_attributes({key: value for key, value in attributes.items() if value is not None})
    if current.session_id:
        current.span.set_attribute(names.SESSION_ID, current.session_id)


def _ended(current: Run) -> None:
    """Close the run; nothing that fails here reaches the request."""
    try:
        current.close()
        current.count()
        seconds = time.monotonic() - current.started_monotonic
        metrics.observe(metrics.request_seconds(current.operation, current.outcome.value), seconds, current.trace_id)
        if current.span.is_recording():
            current.span.set_attribute(names.STATUS, current.outcome.value)
            if current.outcome is Outcome.ERROR:
                current.span.set_status(trace.StatusCode.ERROR)
        current.span.end()
    except Exception:  # telemetry never breaks a request
        metrics.TELEMETRY_ERRORS.inc()


def well_formed_run_id(run_id: str) -> str:
    """`run_id` as a canonical UUID if it is one, else a new one."""
    if not run_id or _CANONICAL.fullmatch(run_id):  # nearly always: what follows takes longer
        return run_id or position.new_uuid()
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        return position.new_uuid()


current_run = _current_run.get
"""The run this code works for, None outside of every one."""
