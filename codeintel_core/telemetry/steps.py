"""Steps: the one call per stage. A step becomes a span, a log event, two ledger lines and a histogram value.

Nothing else in the code base talks to these four directly. A `Run` (runs.py) groups the steps of one request or build.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from opentelemetry import trace

from codeintel_core.errors import CodeIntelError, DeadlineExceeded
from codeintel_core.secrets import redact, redact_values
from codeintel_core.telemetry import metrics, providers, spans
from codeintel_core.telemetry.conventions import KINDS, Status
from codeintel_core.telemetry.redaction import redacted
from codeintel_core.telemetry.runs import CANCELLATIONS, StepRecord, current_run
from codeintel_core.telemetry.spans import Value

_log = logging.getLogger("codeintel.steps")
_OURS = 500  # from this status on an error is about us, and its message is ours


class Step:
    """One stage of a run. Ends exactly once; whoever ends it first decides its status."""

    def __init__(self, kind: str, attributes: dict[str, Value]) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown step kind {kind!r}; the closed list is telemetry/conventions.py")
        self.kind = kind
        self._attributes = attributes
        self._run = current_run()
        self._lock = threading.Lock()
        self._is_open = True
        self._skip_reason: str | None = None
        name, span_kind = spans.name_and_kind(kind, attributes)
        self._parent_id = f"{trace.get_current_span().get_span_context().span_id:016x}"
        self._span = providers.start_span(name, span_kind)
        context = self._span.get_span_context()
        self.span_id = f"{context.span_id:016x}" if context.is_valid else uuid.uuid4().hex[:16]
        self._started = time.monotonic()
        if self._run is not None:
            self._run.begin(self, {"event": "begin", "kind": kind, "span_id": self.span_id})

    def set(self, **attributes: Value) -> None:
        """Add small, bounded attributes (counts, ids, flags)."""
        self._attributes.update(attributes)

    def skip(self, reason: str) -> None:
        """Say that this stage decided not to run; the step ends as `skipped` with the reason."""
        self._skip_reason = reason

    def end(self, status: Status, reason: str = "", detail: str = "") -> None:
        """End the step; later calls do nothing."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        seconds = time.monotonic() - self._started
        reason, detail = redacted(reason) if reason else "", redacted(detail) if detail else ""
        run = self._run
        start_ms = (self._started - run.started_monotonic) * 1000 if run else 0.0
        record = StepRecord(
            self.kind, status, redact(reason)[0], round(start_ms, 3), round(seconds * 1000, 3),
            redact_values(self._attributes), self.span_id, self._parent_id, detail,
        )  # fmt: skip
        try:
            self._publish(record, seconds)
        except Exception:  # telemetry never breaks a request
            metrics.TELEMETRY_ERRORS.inc()
        if run is not None:
            run.add(record)

    @contextmanager
    def around(self) -> Iterator[None]:
        """Make what starts in this block a child of the step; the block does not end it."""
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield

    def _publish(self, record: StepRecord, seconds: float) -> None:
        run = self._run
        metrics.step_seconds(record.kind, record.status.value).observe(seconds)
        if self._span.is_recording():
            self._span.set_attributes(spans.attributes_of(record.kind, record.status, record.reason, record.attributes))
            if record.status in (Status.FAILED, Status.TIMED_OUT):
                self._span.set_status(trace.StatusCode.ERROR, redacted(record.detail or record.reason))
        if _log.isEnabledFor(logging.DEBUG):
            with self.around():
                _log.debug("%s %s", record.kind, record.status, extra=_logged(record, run.run_id if run else ""))
        providers.measure(record.kind, record.status, seconds, record.attributes)
        self._span.end()

    def __enter__(self) -> Self:
        self._scope = trace.use_span(self._span, record_exception=False, set_status_on_exception=False)
        self._scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scope.__exit__(None, None, None)
        self.end(*_outcome(error, self._skip_reason))


def _logged(record: StepRecord, run_id: str) -> dict[str, str | float]:
    return {
        "run_id": run_id, "span_id": record.span_id, "kind": record.kind, "status": record.status.value,
        "reason": record.reason, "duration_ms": record.duration_ms,
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
    return Step(kind, attributes)
