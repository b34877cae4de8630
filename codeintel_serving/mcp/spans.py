"""The run of an MCP tool call: its span under the MCP conventions, the parent that `_meta` names, its metrics.

FastMCP's own spans are not recorded (its tracer is the global one, ours is not): one call is one span here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastmcp.server.dependencies import get_context
from mcp.types import CallToolRequestParams
from opentelemetry.trace import SpanKind, StatusCode

from codeintel_core.telemetry import Outcome, Run, metrics, propagation, providers, run
from codeintel_core.telemetry import conventions as names

_METHOD = "tools/call"


@contextmanager
def tool_run(ledger: Path, call: CallToolRequestParams, run_id: str, session_id: str) -> Iterator[Run]:
    """The run of one tool call; with `_meta.traceparent` it continues that trace and links the HTTP span."""
    name = call.name[:100]
    in_flight = metrics.REQUESTS_IN_FLIGHT.labels("mcp")
    in_flight.inc()
    try:
        with run(
            "mcp", ledger, run_id=run_id, session_id=session_id, is_lazy=True, name=f"{_METHOD} {name}",
            kind=SpanKind.SERVER, parent=propagation.parent_of(_meta()),
            attributes={names.MCP_METHOD: _METHOD, names.GEN_AI_TOOL: name, names.GEN_AI_OPERATION: "execute_tool"},
        ) as current:  # fmt: skip
            yield current
        providers.measure_request("mcp", current.elapsed_ms / 1000, {names.MCP_METHOD: _METHOD})
    finally:
        in_flight.dec()


def note_failure(current: Run, code: str, status: int) -> None:
    """Say that the tool failed, and whether the fault was ours."""
    current.outcome = Outcome.of(status)
    if current.span.is_recording():
        current.span.set_attribute(names.ERROR_TYPE, code)
        if status >= 500:
            current.span.set_status(StatusCode.ERROR)


def _meta() -> Mapping[str, Any]:
    """The `_meta` of the running request."""
    request = get_context().request_context
    meta: Any = request.meta if request is not None else None
    if meta is None:
        return {}
    return meta if isinstance(meta, Mapping) else dict(meta.model_dump(by_alias=True))
