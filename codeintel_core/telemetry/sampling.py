"""Span processors: redaction of what is handed on, and tail sampling inside the process.

Tail sampling keeps the spans of a trace until its local root ends and then decides once: what failed, was degraded,
slow or flagged by a detector is always kept, of the rest a share by trace id. Bounds: traces and spans held, and
decisions remembered for spans that end late; what falls out is counted.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import Status, StatusCode

from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry import metrics
from codeintel_core.telemetry.redaction import redacted, without_secrets

MAX_TRACES, MAX_SPANS, MAX_DECISIONS = 512, 512, 4_096
_IDS = 1 << 64
_PATHS = frozenset({names.URL_PATH, names.HTTP_ROUTE})


class Redacting(SpanProcessor):
    """Hands spans on without secrets and absolute paths in their texts."""

    def __init__(self, sink: SpanProcessor) -> None:
        self._sink = sink

    def on_end(self, span: ReadableSpan) -> None:
        """Pass a copy on; an ended span cannot be changed."""
        self._sink.on_end(
            ReadableSpan(
                span.name,
                span.context,
                span.parent,
                span.resource,
                {key: _clean(key, value) for key, value in (span.attributes or {}).items()},
                span.events,
                span.links,
                span.kind,
                status=Status(span.status.status_code, redacted(span.status.description or "") or None),
                start_time=span.start_time,
                end_time=span.end_time,
                instrumentation_scope=span.instrumentation_scope,
            )
        )

    def shutdown(self) -> None:
        """Shut the sink down."""
        self._sink.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the sink."""
        return bool(self._sink.force_flush(timeout_millis))


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
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        """Count the local roots of each trace: an MCP call with a parent of its own is one inside another."""
        if _is_local_root(span):
            with self._lock:
                trace_id = span.context.trace_id
                self._roots[trace_id] = self._roots.get(trace_id, 0) + 1

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
        if not is_root and trace_id in self._decided and trace_id not in self._held:
            return [span] if self._decided[trace_id] else []  # it ended after its root
        held = self._held.setdefault(trace_id, [])
        if len(held) < MAX_SPANS or is_root:
            held.append(span)
        else:
            metrics.SPANS_DROPPED.inc()
        if is_root:
            left = self._roots.get(trace_id, 1) - 1
            if left > 0:
                self._roots[trace_id] = left
            else:
                self._roots.pop(trace_id, None)
                return self._decide(trace_id)
        if len(self._held) > MAX_TRACES:
            oldest, dropped = self._held.popitem(last=False)
            self._roots.pop(oldest, None)
            metrics.SPANS_DROPPED.inc(len(dropped))
        return []

    def _decide(self, trace_id: int) -> list[ReadableSpan]:
        held = self._held.pop(trace_id, [])
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
        """Spans that wait for their root."""
        with self._lock:
            return sum(map(len, self._held.values()))

    def shutdown(self) -> None:
        """Hand on what is held, whatever it is, and shut the sink down."""
        with self._lock:
            left = [span for spans in self._held.values() for span in spans]
            self._held.clear()
        for span in left:
            self._forward(span)
        self._sink.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Flush the sink."""
        return bool(self._sink.force_flush(timeout_millis))


def _is_local_root(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote
