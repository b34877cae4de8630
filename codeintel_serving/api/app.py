"""The HTTP face: REST and SSE, health and metrics, and MCP mounted beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext

from anyio import to_thread
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.routing import Route

from codeintel_core.errors import CodeIntelError
from codeintel_core.settings import Settings
from codeintel_serving.api.analytics import add_analytics
from codeintel_serving.api.authentication import Authentication
from codeintel_serving.api.bodies import KnownBodies
from codeintel_serving.api.bounds import Bounds
from codeintel_serving.api.bulkheads import Bulkheads
from codeintel_serving.api.correlation import (
    Correlation,
    caller_of,
    error_response,
    http_problem,
    problem_response,
)
from codeintel_serving.api.hosts import Hosts
from codeintel_serving.api.mcp import McpEndpoint
from codeintel_serving.api.recall import Recall
from codeintel_serving.api.runs import add_runs
from codeintel_serving.api.tools import OF_ANY, add_tools, in_forms, problems, route_of
from codeintel_serving.exposition import MEDIA_TYPES as METRICS
from codeintel_serving.exposition import exposed, told_to_siblings
from codeintel_serving.feedback import FeedbackRequest, FeedbackResponse
from codeintel_serving.mcp.callers import http_caller
from codeintel_serving.mcp.server import create_mcp
from codeintel_serving.models import (
    GetScopeRequest,
    Readiness,
    ScopeResponse,
    StatusRequest,
    StatusResponse,
)
from codeintel_serving.problems import checked, invalid_arguments
from codeintel_serving.readiness import Board, readiness
from codeintel_serving.services import Services
from codeintel_serving.siblings import Siblings
from codeintel_serving.tools.registry import load
from codeintel_serving.web import pages

_NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own: a second span for what is a request already, with messages that nobody redacted."""


def create_app(services: Services, siblings: Siblings | None = None) -> FastAPI:
    """The app over wired services; the caller starts and closes them. `siblings`: when it is one of several workers."""
    board = Board(lambda: readiness(services))
    mcp = McpEndpoint(create_mcp(services, http_caller))

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[None]:
        told = siblings.answering(lambda: told_to_siblings(services)) if siblings else nullcontext()
        async with mcp.lifespan(running), told:
            _size_threads(services.settings)
            try:
                yield
            finally:
                board.close()
                await services.aclose()

    app = FastAPI(
        title="CodeIntel",
        version="0.1.0",
        description="Search, cited answers and files of indexed git repositories.",
        lifespan=lifespan,
        redoc_url=None,
        telemetry=_NO_TELEMETRY,
        responses=problems(*OF_ANY),
    )
    settings = services.settings
    known = KnownBodies(settings.result_cache)
    add_tools(app, services, known)
    app.add_middleware(Bulkheads, settings)  # the innermost: what waits for its body holds no slot
    app.add_middleware(Recall, services, route_of(app, "search"), known)  # what is in memory needs none
    app.add_middleware(Bounds, settings.body_timeout_s, settings.concurrent_requests, known)
    app.add_middleware(Authentication, services.keys, settings)
    app.add_middleware(Hosts, settings.allowed_hosts, settings.allowed_origins)
    app.add_middleware(Correlation, ledger=services.home.ledger, on_failure=services.runpacks.request)  # the outermost
    app.add_exception_handler(CodeIntelError, _on_error)
    app.add_exception_handler(HTTPException, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    _add_operations(app, services, board, siblings)
    add_runs(app, services, problems(404, 500))
    add_analytics(app, services, problems(401, 403, 422, 500))
    app.router.routes.insert(0, Route("/mcp", mcp, include_in_schema=False))  # asked most, so looked at first
    app.router.routes.extend(pages.routes())
    return app


def _size_threads(settings: Settings) -> None:
    """As many threads as there are slots: what holds a slot never waits for a thread, and health finds one free."""
    threads = settings.concurrent_answers + settings.concurrent_searches + settings.concurrent_others + 8
    to_thread.current_default_thread_limiter().total_tokens = threads
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads, thread_name_prefix="tool"))


def _add_operations(app: FastAPI, services: Services, board: Board, siblings: Siblings | None) -> None:
    @app.post("/feedback", responses=problems(404, 500), summary="Say what an answer was worth")
    def feedback(body: FeedbackRequest, request: Request) -> FeedbackResponse:
        return services.feedback(body, caller_of(request))

    @app.get("/status", operation_id="status_of_all", summary="Generation, freshness and coverage of every repository")
    async def status(request: Request) -> StatusResponse:
        found: StatusResponse = await load("status").run(services, StatusRequest(), caller_of(request), None)
        return found

    @app.get("/scope/{scope_id}", operation_id="scope_of_handle", responses=problems(404, 409),
             summary="The scope of a handle, resolved anew")  # fmt: skip
    async def scope(scope_id: str, request: Request) -> ScopeResponse:
        asked = checked(GetScopeRequest, scope_id=scope_id)
        found: ScopeResponse = await load("get_scope").run(services, asked, caller_of(request), None)
        return found

    @app.get("/livez", summary="The process runs; touches nothing")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"model": Readiness}}, summary="Whether it can answer, check by check")
    def readyz(request: Request, response: Response) -> Readiness:
        found = board.state()
        response.status_code = 503 if found.state in ("down", "draining") else 200
        return found if caller_of(request).principal.watches_all else found.without_reasons()

    @app.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=in_forms(*METRICS))
    async def prometheus(request: Request) -> Response:
        caller_of(request).principal.require_all()
        others = await siblings.ask() if siblings else {}
        accept = request.headers.get("Accept", "")
        body, media_type = await asyncio.to_thread(exposed, services, accept, siblings, others)
        return Response(body, headers={"Content-Type": media_type})


async def _on_error(_: Request, error: Exception) -> Response:
    return error_response(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    if details and details[0]["type"] == "json_invalid":
        return problem_response(http_problem(400))
    return problem_response(invalid_arguments(details))
