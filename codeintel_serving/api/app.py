"""The HTTP face: REST and SSE, health and metrics, and MCP mounted beside them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Route

from codeintel_core.errors import CodeIntelError
from codeintel_core.telemetry import metrics
from codeintel_serving.answer import orchestrator
from codeintel_serving.api.correlation import (
    MAX_BODY_BYTES,
    PROBLEM_TYPE,
    Correlation,
    caller_of,
    http_problem,
    problem_response,
)
from codeintel_serving.mcp.server import create_mcp
from codeintel_serving.models import (
    AnswerRequest,
    AnswerResponse,
    Problem,
    Readiness,
    ReadRequest,
    ReadResponse,
    SearchRequest,
    SearchResponse,
    StatusResponse,
)
from codeintel_serving.problems import invalid_arguments, problem_of
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.web import pages


def create_app(services: Services) -> FastAPI:
    """The app over wired services; the caller starts and closes them."""
    mcp = create_mcp(services).http_app(path="/mcp", stateless_http=True, host_origin_protection=True)

    @asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[None]:
        async with mcp.lifespan(running):
            try:
                yield
            finally:
                await services.aclose()

    app = FastAPI(
        title="CodeIntel",
        version="0.1.0",
        description="Search, cited answers and files of indexed git repositories.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    app.add_middleware(Correlation)  # the outermost
    app.add_exception_handler(CodeIntelError, _on_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    _add_questions(app, services)
    _add_operations(app, services)
    app.router.routes.append(Route("/mcp", mcp, include_in_schema=False))  # as an app: with its own Host protection
    app.router.routes.extend(pages.routes())
    return app


def _add_questions(app: FastAPI, services: Services) -> None:
    @app.post("/search", responses=_problems(404, 409, 413, 422, 503), summary="Ranked spans of code")
    def search(body: SearchRequest, request: Request) -> SearchResponse:
        return services.search(body, caller_of(request))

    @app.post(
        "/answer",
        response_model=AnswerResponse,
        responses={
            200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
            **_problems(404, 409, 413, 422, 503, 504),
        },
        summary="A cited answer: JSON, or events with `Accept: text/event-stream`",
    )
    async def answer(body: AnswerRequest, request: Request) -> Any:
        caller = caller_of(request)
        if "text/event-stream" in request.headers.get("Accept", ""):
            return EventSourceResponse(_sse(services, body, caller))
        return await _while_connected(request, orchestrator.answer(services, body, caller))

    @app.post("/files/read", responses=_problems(404, 409, 413, 422), summary="Lines of a file of the pinned commit")
    def read(body: ReadRequest) -> ReadResponse:
        return services.read(body)


def _add_operations(app: FastAPI, services: Services) -> None:
    @app.get("/status", summary="Generation, freshness and coverage of every repository")
    def status() -> StatusResponse:
        return services.status()

    @app.get("/livez", summary="The process runs; touches nothing")
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", responses={503: {"model": Readiness}}, summary="Whether it can answer, check by check")
    def readyz(response: Response) -> Readiness:
        found = readiness(services)
        response.status_code = 503 if found.state == "down" else 200
        return found

    @app.get("/metrics", summary="Prometheus metrics")
    def prometheus() -> Response:
        return Response(generate_latest(metrics.REGISTRY), media_type=CONTENT_TYPE_LATEST)


async def _sse(services: Services, body: AnswerRequest, caller: Caller) -> AsyncIterator[ServerSentEvent]:
    async for event in orchestrator.events(services, body, caller):
        yield ServerSentEvent(orjson.dumps(event.data()).decode(), event=event.name)


async def _while_connected(request: Request, work: Awaitable[AnswerResponse]) -> AnswerResponse | Response:
    """The result of `work`, which is cancelled when the client leaves."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else Response(status_code=499)
    finally:
        leaving.cancel()
        working.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _on_error(_: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    if details and details[0]["type"] == "json_invalid":
        return problem_response(http_problem(400))
    return problem_response(invalid_arguments(details))


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem_response(http_problem(error.status_code), dict(error.headers or {}))


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {status: {"model": Problem, "content": content} for status in statuses}
