"""Who calls an MCP tool: over HTTP the principal of the request, over stdio whoever started the process."""

from __future__ import annotations

import uuid

from fastmcp.server.dependencies import get_http_request

from codeintel_core.telemetry import current_run
from codeintel_serving.access.principal import Principal
from codeintel_serving.recording import Caller

_RUN_ID, _SESSION_ID = "x-run-id", "x-session-id"
_PROCESS_SESSION = f"stdio-{uuid.uuid4()}"  # whoever started the process is its only session


def http_caller() -> Caller:
    """The caller of a tool over HTTP; fails rather than guess when the request is not known."""
    request = get_http_request()
    principal: Principal = request.state.principal
    return Caller("mcp", _run_id(), request.headers.get(_SESSION_ID, ""), principal)


def stdio_caller() -> Caller:
    """The caller of a tool over stdio, who owns this process."""
    return Caller("mcp", _run_id(), _PROCESS_SESSION)


def given_ids() -> tuple[str, str]:
    """The ids of run and session that a tool call was sent with; '' for none, as over stdio."""
    try:
        headers = get_http_request().headers
    except RuntimeError:
        return "", ""
    return headers.get(_RUN_ID, ""), headers.get(_SESSION_ID, "")


def _run_id() -> str:
    current = current_run()
    return current.run_id if current else ""
