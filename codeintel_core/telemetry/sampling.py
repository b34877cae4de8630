"""Span processors: redaction of what is handed on, and tail sampling inside the process.

Tail sampling keeps the spans of a trace until its local root ends and then decides once: what failed, was degraded,
slow or flagged by a detector is always kept, of the rest a share by trace id. Detectors run in a thread of their own,
after the request. Bounds: traces and spans held, traces that wait for detectors, decisions remembered for spans that
end late; what falls out is counted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from codeintel_core.secrets import without_secrets
from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry import metrics
from codeintel_core.telemetry.redaction import redacted

MAX_TRACES, MAX_SPANS, MAX_DECISIONS, MAX_WAITING = 512, 512, 4_096, 64
_IDS = 1 << 64
Judge = Callable[[], Sequence[str]]
"""Says which kinds of findings there are about the run of a span; may take milliseconds."""
_PATHS = frozenset({names.URL_PATH, names.HTTP_ROUTE})


class Redacting(SpanProcessor):
    """Hands spans on without secrets and absolute paths in their texts."""

    def __init__(self, sink: SpanProcessor) -> None:
        self._sink = sink

    def on_end(self, span: ReadableSpan) -> None:
        """Pass a copy on; an ended span cannot be changed."""
        attributes = {key: _clean(key, value) for key, value in (span.attributes or {}).items()}
        status = Status(span.status.status_code, redacted(span.status.description or "") or None)
        self._sink.on_end(_copy(span, attributes, status))

    def shutdown(self) -> None:
        """Shut the sink down."""
        self._sink.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the sink."""
        return bool(self._sink.force_flush(timeout_millis))


def _copy(span: ReadableSpan, attributes: dict[str, Any], status: Status) -> ReadableSpan:
    """The span with other attributes and another status."""
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        attributes,
        span.events,
        span.links,
        span.kind,
        status=status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _clean(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return without_secrets(value) if key in _PATHS else redacted(value)
    return tuple(_clean(key, one) for one in value) if isinstance(value, tuple | list) else value


class TailSampling(SpanProcessor):
    """Holds spans by trace and hands whole traces on, or not."""

    def __init__(self, sink: SpanProcessor, *, keep_ratio: float = 1.0, slow_ms: float = 1_000.0) -> None:
        """Of uneventful traces `keep_ratio` (0..1) is kept; a root of `slow_ms` or more is an event."""
        self._sink = sink
        self._keep_below = int(keep_ratio * _IDS)
        self._slow_ns = slow_ms * 1e6
        self._held: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._decided: OrderedDict[int, bool] = OrderedDict()
        self._roots: dict[int, int] = {}
        self._judges: dict[int, list[tuple[int, Judge]]] = {}
        self._waiting: dict[int, list[ReadableSpan]] = {}
        self._jobs = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="detectors")
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Count the local roots of each trace: an MCP call with a parent of its own is one inside another."""
        if _is_local_root(span):
            with self._lock:
                trace_id = span.context.trace_id
                self._roots[trace_id] = self._roots.get(trace_id, 0) + 1

    def judge_later(self, trace_id: int, span_id: int, judge: Judge) -> None:
        """Ask `judge` once the trace has ended; what it finds becomes an attribute of the span and keeps the trace."""
        with self._lock:
            if trace_id in self._judges or len(self._judges) < MAX_TRACES:
                self._judges.setdefault(trace_id, []).append((span_id, judge))

    def on_end(self, span: ReadableSpan) -> None:
        """Hold the span; decide when the last local root of its trace ends."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        with self._lock:
            ready = self._take(context.trace_id, span)
        for one in ready:
            self._forward(one)

    def _take(self, trace_id: int, span: ReadableSpan) -> list[ReadableSpan]:
        is_root = _is_local_root(span)
        if not is_root and trace_id in self._waiting and trace_id not in self._held:
            self._hold(self._waiting[trace_id], span)
            return []
        if not is_root and trace_id in self._decided and trace_id not in self._held:
            return [span] if self._decided[trace_id] else []  # it ended after its root
        held = self._held.setdefault(trace_id, [])
        self._hold(held, span)
        if is_root:
            left = self._roots.get(trace_id, 1) - 1
            if left > 0:
                self._roots[trace_id] = left
            else:
                self._roots.pop(trace_id, None)
                return self._ended(trace_id)
        if len(self._held) > MAX_TRACES:
            oldest, dropped = self._held.popitem(last=False)
            self._roots.pop(oldest, None)
            self._judges.pop(oldest, None)
            metrics.SPANS_DROPPED.inc(len(dropped))
        return []

    def _hold(self, held: list[ReadableSpan], span: ReadableSpan) -> None:
        if len(held) < MAX_SPANS or _is_local_root(span):
            held.append(span)
        else:
            metrics.SPANS_DROPPED.inc()

    def _ended(self, trace_id: int) -> list[ReadableSpan]:
        """Decide about a whole trace, or leave it to the thread of the detectors."""
        held, judges = self._held.pop(trace_id, []), self._judges.pop(trace_id, [])
        if judges and self._jobs >= MAX_WAITING:
            metrics.TRACES_SAMPLED.labels("unjudged").inc()
            judges = []
        if judges:
            try:
                self._pool.submit(self._judge, trace_id, held, judges)
            except RuntimeError:  # shut down
                return self._decide(trace_id, held)
            self._waiting[trace_id] = held
            self._jobs += 1
            return []
        return self._decide(trace_id, held)

    def _judge(self, trace_id: int, held: list[ReadableSpan], judges: Sequence[tuple[int, Judge]]) -> None:
        flags: dict[int, tuple[str, ...]] = {}
        for span_id, judge in judges:
            try:
                flags[span_id] = tuple(dict.fromkeys(judge()))
            except Exception:  # a detector that fails costs its findings only
                metrics.TELEMETRY_ERRORS.inc()
        with self._lock:
            self._jobs -= 1
            if self._waiting.get(trace_id) is held:  # else a later request of the same trace waits, too
                del self._waiting[trace_id]
            ready = self._decide(trace_id, [_flagged(span, flags) for span in held])
        for one in ready:
            self._forward(one)

    def _decide(self, trace_id: int, held: list[ReadableSpan]) -> list[ReadableSpan]:
        is_kept = any(map(self._is_notable, held)) or (trace_id & (_IDS - 1)) < self._keep_below
        self._decided[trace_id] = is_kept
        while len(self._decided) > MAX_DECISIONS:
            self._decided.popitem(last=False)
        metrics.TRACES_SAMPLED.labels("kept" if is_kept else "left").inc()
        return held if is_kept else []

    def _is_notable(self, span: ReadableSpan) -> bool:
        attributes = span.attributes or {}
        if span.status.status_code is StatusCode.ERROR or attributes.get(names.FLAGS):
            return True
        if attributes.get(names.STATUS) in ("failed", "timed_out", "cancelled", "error"):
            return True
        is_slow = (span.end_time or 0) - (span.start_time or 0) >= self._slow_ns
        return is_slow and _is_local_root(span)

    def _forward(self, span: ReadableSpan) -> None:
        self._sink.on_end(span)

    @property
    def held(self) -> int:
        """Spans that wait for their root or for detectors."""
        with self._lock:
            return sum(map(len, [*self._held.values(), *self._waiting.values()]))

    def shutdown(self) -> None:
        """Finish the detectors, hand on what is held, whatever it is, and shut the sink down."""
        self._pool.shutdown(wait=True)
        with self._lock:
            left = [span for spans in self._held.values() for span in spans]
            self._held.clear()
        for span in left:
            self._forward(span)
        self._sink.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Finish the detectors of what has ended, and flush the sink."""
        try:
            self._pool.submit(int).result(timeout_millis / 1000)
        except (RuntimeError, TimeoutError):  # shut down, or late
            return False
        return bool(self._sink.force_flush(timeout_millis))


def _flagged(span: ReadableSpan, flags: dict[int, tuple[str, ...]]) -> ReadableSpan:
    found = flags.get(span.context.span_id) if span.context is not None else None
    return _copy(span, {**(span.attributes or {}), names.FLAGS: found}, span.status) if found else span


def _is_local_root(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote
