"""Trace context from and to the outside (W3C `traceparent`): HTTP headers and the `_meta` of an MCP call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from codeintel_core.telemetry import position

KEYS = ("traceparent", "tracestate")
_MAX_CHARS = 512
_propagator = TraceContextTextMapPropagator()


def parent_of(carrier: Mapping[str, Any] | None) -> Context | None:
    """The remote parent that the carrier names, or None when there is none or it is malformed (a new trace then)."""
    found = {key: value for key in KEYS if isinstance(value := (carrier or {}).get(key), str)}
    if not found.get("traceparent") or any(len(value) > _MAX_CHARS for value in found.values()):
        return None
    context = _propagator.extract(found, Context())
    return context if trace.get_current_span(context).get_span_context().is_valid else None


def carrier() -> dict[str, str]:
    """Headers that make a called service continue the current trace."""
    headers: dict[str, str] = {}
    here = position.current()
    _propagator.inject(headers, position.context_of(here) if here is not None else None)
    return headers
