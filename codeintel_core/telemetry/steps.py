"""Steps: the one call per stage. A step becomes a span, a log event, two ledger lines and a histogram value.

Nothing else in the code base talks to these four directly. A `Run` (runs.py) groups the steps of one request or build.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Self

from opentelemetry.trace import INVALID_SPAN, Span, StatusCode

from codeintel_core.errors import CodeIntelError, DeadlineExceeded
from codeintel_core.telemetry import metrics, position, providers, redaction, spans
from codeintel_core.telemetry.conventions import KINDS, PREFIX, Status
from codeintel_core.telemetry.position import Inside, new_span_id, new_trace
from codeintel_core.telemetry.redaction import redacted
from codeintel_core.telemetry.runs import CANCELLATIONS, Run, StepRecord, current_run
from codeintel_core.telemetry.spans import Value

_log = logging.getLogger("codeintel.steps")
_OURS = 500  # from this status on an error is about us, and its message is ours
_NO_PARENT = "0" * 16


class Step:
    """One stage of a run. Ends exactly once; whoever ends it first decides its status."""

    __slots__ = (
        "_attributes", "_entered", "_is_open", "_lock", "_parent_id", "_record", "_run", "_skip_reason", "kind", "span",
        "span_id", "started", "trace",
    )  # fmt: skip

    def __init__(self, kind: str, attributes: dict[str, Value]) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown step kind {kind!r}; the closed list is telemetry/conventions.py")
        self.kind = kind
        self._attributes = attributes
        self._run = current_run()
        self._lock = threading.Lock()
        self._is_open = True
        self._skip_reason: str | None = None
        self._record: StepRecord | None = None
        above = position.current()
        self._parent_id = above.span_id if above is not None else _NO_PARENT
        tracer = providers.get().tracer
        if tracer is None:
            self.span: Span = INVALID_SPAN
            self.trace, self.span_id = above.trace if above is not None else new_trace(), new_span_id()
        else:
            name, span_kind = spans.name_and_kind(kind, attributes)
            self.span = tracer.start_span(name, kind=span_kind)
            self.trace, self.span_id = position.ids_of(self.span) or (new_trace(), new_span_id())
        self.started = time.monotonic()

    def begin(self) -> Self:
        """Write that the step has begun; when its run is over it never ends, and nobody is told of it."""
        if self._run is not None and not self._run.begin(self):  # its run may end it at once: nothing opens it again
            self._is_open = False
        return self

    def set(self, **attributes: Value) -> None:
        """Add small, bounded attributes (counts, ids, flags)."""
        self._attributes.update(attributes)

    def event(self, name: str, **attributes: Value) -> None:
        """Add an event to the span, where spans are exported."""
        if self.span.is_recording():
            self.span.add_event(
                name, {f"{PREFIX}{key}": value for key, value in attributes.items() if value is not None}
            )

    def skip(self, reason: str) -> None:
        """Say that this stage decided not to run; the step ends as `skipped` with the reason."""
        self._skip_reason = reason

    def end(self, status: Status, reason: str = "", detail: str = "") -> None:
        """End the step; later calls do nothing."""
        if not self._is_open:
            return
        record = self._recorded(status, reason, detail)
        with self._lock:
            if not self._is_open:
                return
            self._record, self._is_open = record, False
        self._tell(record)
        self.hand_over()

    def hand_over(self) -> None:
        """Give the run the record of a step that has ended: by who ended it, or by the run, which waits no longer."""
        if self._run is not None and self._record is not None:
            self._run.add(self._record)

    def note(self, status: Status, reason: str = "") -> None:
        """End a step that has not begun: there was nothing to do, or it is done already."""
        record = self._recorded(status, reason, "")
        if self._run is None or self._run.note(record):
            self._tell(record)

    def around(self) -> Inside:
        """Make what starts in a block (`with step.around():`) a child of the step; the block does not end it."""
        return Inside(self)

    def _recorded(self, status: Status, reason: str, detail: str) -> StepRecord:
        seconds = time.monotonic() - self.started
        start_s = self.started - self._run.started_monotonic if self._run is not None else 0.0
        return StepRecord(
            self.kind,
            status,
            redaction.reason(reason) if reason else "",
            int(start_s * 1e6) / 1000,
            int(seconds * 1e6) / 1000,
            redaction.attributes(self._attributes),
            self.span_id,
            self._parent_id,
            redacted(detail) if detail else "",
        )

    def _tell(self, record: StepRecord) -> None:
        """Publish the record to metrics, log and span."""
        exported, status = providers.get(), record.status
        seconds = record.duration_ms / 1000
        try:
            if self._run is None:  # else the run counts its steps when it ends
                metrics.step_seconds(self.kind, status.value).observe(seconds)
            if _log.isEnabledFor(logging.DEBUG):
                with self.around():
                    _log.debug("%s %s", self.kind, status, extra=_logged(record, self._run))
            if exported.instruments is not None:
                exported.instruments.step(self.kind, status, seconds, record.attributes)
            if self.span is not INVALID_SPAN:
                self._export(record)
        except Exception:  # telemetry never breaks a request
            metrics.TELEMETRY_ERRORS.inc()

    def _export(self, record: StepRecord) -> None:
        self.span.set_attributes(spans.attributes_of(record.kind, record.status, record.reason, record.attributes))
        if record.status in (Status.FAILED, Status.TIMED_OUT):
            self.span.set_status(StatusCode.ERROR, redacted(record.detail or record.reason))
        self.span.end()

    def __enter__(self) -> Self:
        self._entered = position.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        position.leave(self._entered)
        if error is None and self._skip_reason is None:
            self.end(Status.COMPLETED)
        else:
            self.end(*_outcome(error, self._skip_reason))


def _logged(record: StepRecord, run: Run | None) -> dict[str, str | float]:
    return {
        "run_id": run.run_id if run is not None else "", "span_id": record.span_id, "kind": record.kind,
        "status": record.status.value, "reason": record.reason, "duration_ms": record.duration_ms,
    }  # fmt: skip


def _outcome(error: BaseException | None, skip_reason: str | None) -> tuple[Status, str, str]:
    if error is None:
        return (Status.COMPLETED, "", "") if skip_reason is None else (Status.SKIPPED, skip_reason, "")
    if isinstance(error, DeadlineExceeded | TimeoutError):
        return Status.TIMED_OUT, str(error), ""
    if isinstance(error, CANCELLATIONS):
        return Status.CANCELLED, type(error).__name__, ""
    return Status.FAILED, error.slug if isinstance(error, CodeIntelError) else type(error).__name__, detail_of(error)


def detail_of(error: BaseException) -> str:
    """What an error says, redacted, when it is about this machine and not about what was asked; else ''."""
    if isinstance(error, CodeIntelError):
        return redacted(str(error)) if type(error).status >= _OURS else ""  # an endpoint's own status is another thing
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if isinstance(error.filename, str) else ""
        return redacted(f"{error.strerror}{name}")
    if type(error).__module__.split(".")[0] in ("duckdb", "_duckdb"):
        return redacted(str(error).split("\n", 1)[0])
    return ""


def step(kind: str, **attributes: Value) -> Step:
    """Start a step of the current run; use as a context manager, or call `end` yourself.

    The status follows from how the block is left: normally `completed` (or `skipped` after `skip`), a deadline
    `timed_out`, a cancellation `cancelled`, any other exception `failed` with its slug or type as the reason.
    """
    return Step(kind, attributes).begin()


def note(kind: str, status: Status, reason: str = "", **attributes: Value) -> None:
    """Record a step that takes no time: one that is skipped, or whose result was there already."""
    Step(kind, attributes).note(status, reason)
