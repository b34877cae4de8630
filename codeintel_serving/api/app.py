"""The HTTP face: REST and SSE, health and metrics, and MCP mounted beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Route

from codeintel_core.errors import CodeIntelError
from codeintel_core.telemetry import metrics
from codeintel_serving.api.correlation import (
    MAX_BODY_BYTES,
    Correlation,
    caller_of,
    http_problem,
    problem_response,
)
from codeintel_serving.api.tools import add_tools, problems
from codeintel_serving.mcp.server import create_mcp
from codeintel_serving.models import (
    Readiness,
    ReadRequest,
    ReadResponse,
    StatusRequest,
    StatusResponse,
)
from codeintel_serving.problems import invalid_arguments, problem_of
from codeintel_serving.readiness import readiness
from codeintel_serving.services import Services
from codeintel_serving.tools.registry import load


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
    add_tools(app, services)
    _add_operations(app, services)
    app.router.routes.append(Route("/mcp", mcp, include_in_schema=False))  # as an app: with its own Host protection
    return app


def _add_operations(app: FastAPI, services: Services) -> None:
    @app.post("/files/read", responses=problems(404, 409, 413, 422), summary="Lines of one file of the pinned commit")
    def read(body: ReadRequest, request: Request) -> ReadResponse:
        return services.read(body, caller_of(request))

    @app.get("/status", operation_id="status_of_all", summary="Generation, freshness and coverage of every repository")
    async def status(request: Request) -> StatusResponse:
        found: StatusResponse = await load("status").run(services, StatusRequest(), caller_of(request), None)
        return found

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
