"""The outermost layer: every request gets its ids, every answer carries them, no exception leaves as text."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from opentelemetry.trace import SpanKind
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel_core.errors import Forbidden, Overloaded, RateLimited, Unauthorized
from codeintel_core.telemetry import Outcome, current_run, propagation, run
from codeintel_core.telemetry.position import Inside
from codeintel_serving.api import http_spans
from codeintel_serving.api.bounds import MAX_BODY_BYTES
from codeintel_serving.api.headers import header, replaced
from codeintel_serving.models import Problem
from codeintel_serving.problems import is_packed, problem, problem_of
from codeintel_serving.recording import Caller

PROBLEM_TYPE = "application/problem+json"
_CHALLENGE = 'Bearer realm="codeintel"'
_RUN_ID, _TRACE_ID, _SESSION_ID = b"x-run-id", b"x-trace-id", b"x-session-id"

HTTP_PROBLEMS = {
    400: ("malformed-body", "Malformed body", "the body is not valid JSON"),
    403: ("foreign-origin", "Foreign origin", "pages of another origin may not call this server"),
    404: ("not-found", "Not found", "there is nothing at this address; see /openapi.json"),
    405: ("method-not-allowed", "Method not allowed", "this address takes another method; see the header Allow"),
    408: ("request-timeout", "Request timeout", "the request did not arrive in time"),
    413: ("body-too-large", "Body too large", f"the body is larger than {MAX_BODY_BYTES} bytes"),
    415: ("unsupported-media-type", "Unsupported media type", "the body cannot be read in this form"),
    421: ("foreign-host", "Foreign host", "this server does not answer to that Host"),
    431: ("headers-too-large", "Headers too large", "the headers are too large"),
}


def http_problem(status: int, detail: str = "") -> Problem:
    """The problem of a bare HTTP status, as the frameworks raise it."""
    code, title, usual = HTTP_PROBLEMS.get(status, (f"http-{status}", f"HTTP {status}", "the request was refused"))
    return problem(code, title, status, detail or usual)


def problem_response(found: Problem, headers: dict[str, str] | None = None) -> Response:
    """A problem as an HTTP response."""
    return Response(found.model_dump_json(), found.status, headers, PROBLEM_TYPE)


def caller_of(request: Request) -> Caller:
    """The caller of a REST request; its run id is the one in the answer's headers."""
    return caller_in(request.scope)


def caller_in(scope: Scope) -> Caller:
    """The same before there is a request."""
    current = current_run()
    run_id = current.run_id if current else ""
    return Caller("rest", run_id, header(scope, _SESSION_ID), scope["state"]["principal"])


def error_response(error: BaseException) -> Response:
    """Any error as an HTTP response, with the headers that its status asks for."""
    if isinstance(error, HTTPException):
        return problem_response(http_problem(error.status_code, _own_words(error)), dict(error.headers or {}))
    return problem_response(problem_of(error), _headers_of(error))


def _own_words(error: HTTPException) -> str:
    """What was said on purpose, and not the phrase that Starlette puts in for nothing."""
    return "" if error.detail == HTTPStatus(error.status_code).phrase else str(error.detail)


def _headers_of(error: BaseException) -> dict[str, str]:
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": _CHALLENGE + (', error="invalid_token"' if error.was_given else "")}
    if isinstance(error, Forbidden):
        return {"WWW-Authenticate": f'{_CHALLENGE}, error="insufficient_scope", scope="{error.permission}"'}
    if isinstance(error, RateLimited | Overloaded):
        return {"Retry-After": str(error.retry_after_s)}
    return {}


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
        is_problem = False
        given_id = header(scope, _RUN_ID)
        carrier = {name: header(scope, name.encode()) for name in propagation.KEYS}
        with run(
            "http", self._ledger, run_id=given_id, session_id=header(scope, _SESSION_ID), is_lazy=True,
            name=scope["method"], kind=SpanKind.SERVER, parent=propagation.parent_of(carrier),
            attributes=http_spans.of_request(scope),
        ) as current, http_spans.answered(current, scope, lambda: status):  # fmt: skip

            async def send_with_ids(message: Message) -> None:
                nonlocal started, status, is_problem
                if message["type"] == "http.response.start":
                    started, status = True, message["status"]
                    current.outcome = Outcome.of(status)
                    is_problem = header(message, b"content-type").startswith(PROBLEM_TYPE)
                    ids = (_RUN_ID, run_id), (_TRACE_ID, current.trace_id.encode())
                    message["headers"] = replaced(message.get("headers", []), *ids)
                await send(message)

            run_id = current.run_id.encode()
            scope["headers"] = replaced(scope["headers"], (_RUN_ID, run_id))
            try:
                await self._app(scope, receive, send_with_ids)
            except asyncio.CancelledError:
                if not started:  # cut at the end of a shutdown; a client that left hears nothing
                    stopping = Overloaded("the server is shutting down")
                    await error_response(stopping)(scope, receive, send_with_ids)
                raise
            except Exception as error:
                if started:
                    raise
                await error_response(error)(scope, receive, send_with_ids)
        if is_problem and is_packed(current, status):
            with Inside(current):  # after the last line of the run, and still in its trace
                self._on_failure(current.run_id)
