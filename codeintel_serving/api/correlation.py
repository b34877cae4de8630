"""The outermost layer: every request gets its ids, every answer carries them, no exception leaves as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel_core.telemetry import current_run, propagation, run
from codeintel_serving.api import http_spans
from codeintel_serving.models import Problem
from codeintel_serving.problems import PACKED, problem, problem_of
from codeintel_serving.recording import Caller

MAX_BODY_BYTES = 1_000_000
PROBLEM_TYPE = "application/problem+json"
RUN_ID, TRACE_ID, SESSION_ID = "X-Run-Id", "X-Trace-Id", "X-Session-Id"

_HTTP_PROBLEMS = {
    400: ("malformed-body", "Malformed body", "the body is not valid JSON"),
    404: ("not-found", "Not found", "there is nothing at this address; see /openapi.json"),
    405: ("method-not-allowed", "Method not allowed", "this address takes another method; see the header Allow"),
    413: ("body-too-large", "Body too large", f"the body is larger than {MAX_BODY_BYTES} bytes"),
    415: ("unsupported-media-type", "Unsupported media type", "the body cannot be read in this form"),
}


def http_problem(status: int, detail: str = "") -> Problem:
    """The problem of a bare HTTP status, as the frameworks raise it."""
    code, title, usual = _HTTP_PROBLEMS.get(status, (f"http-{status}", f"HTTP {status}", "the request was refused"))
    return problem(code, title, status, detail or usual)


def problem_response(found: Problem, headers: dict[str, str] | None = None) -> Response:
    """A problem as an HTTP response."""
    return Response(found.model_dump_json(), found.status, headers, PROBLEM_TYPE)


def caller_of(request: Request) -> Caller:
    """The caller of a REST request; its run id is the one in the answer's headers."""
    current = current_run()
    return Caller("rest", current.run_id if current else "", request.headers.get(SESSION_ID, ""))


class Correlation:
    """ASGI middleware: opens the HTTP run, continues the caller's trace, and answers X-Run-Id and X-Trace-Id.

    A well-formed X-Run-ID of the caller is kept, anything else replaced; the request goes on with the id in use, so
    that mounted apps see the same one. Its ledger exists when a step has no run of its own, as that of a file read.
    """

    def __init__(self, app: ASGIApp, ledger: Path, on_failure: Callable[[str], None]) -> None:
        """`on_failure` is told the id of each run that ended with a problem of ours."""
        self._app, self._ledger, self._on_failure = app, ledger, on_failure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        status = 0
        is_packed = False
        headers = Headers(scope=scope)
        with run(
            "http", self._ledger, run_id=headers.get(RUN_ID, ""), session_id=headers.get(SESSION_ID, ""), is_lazy=True,
            name=scope["method"], kind=SpanKind.SERVER, parent=propagation.parent_of(headers),
            attributes=http_spans.of_request(scope),
        ) as current, http_spans.answered(current, scope, lambda: status):  # fmt: skip

            async def send_with_ids(message: Message) -> None:
                nonlocal started, status, is_packed
                if message["type"] == "http.response.start":
                    started, status = True, message["status"]
                    answer = MutableHeaders(scope=message)
                    answer[RUN_ID], answer[TRACE_ID] = current.run_id, current.trace_id
                    is_packed = status in PACKED and answer.get("Content-Type", "").startswith(PROBLEM_TYPE)
                await send(message)

            MutableHeaders(scope=scope)[RUN_ID] = current.run_id
            try:
                if refused := _refused(scope):
                    await problem_response(refused)(scope, receive, send_with_ids)
                else:
                    await self._app(scope, receive, send_with_ids)
            except Exception as error:
                if started:
                    raise
                await problem_response(problem_of(error))(scope, receive, send_with_ids)
        if is_packed:
            self._on_failure(current.run_id)


def _refused(scope: Scope) -> Problem | None:
    """What the headers alone are refused for; a body without a length is measured while it is read."""
    headers = Headers(scope=scope)
    if headers.get("Content-Encoding", "identity") != "identity":
        return http_problem(415, "send the body without Content-Encoding")
    length = headers.get("Content-Length", "0")
    return http_problem(413) if length.isdecimal() and int(length) > MAX_BODY_BYTES else None
