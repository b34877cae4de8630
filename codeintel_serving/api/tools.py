"""The REST routes of the tools: one POST per tool of the table, the request model as its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.routing import BaseRoute

from codeintel_serving.answer import orchestrator
from codeintel_serving.answer.events import TraceEvent
from codeintel_serving.api.bodies import KnownBodies
from codeintel_serving.api.correlation import PROBLEM_TYPE, caller_of
from codeintel_serving.models import AnswerRequest, Problem, SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools import search
from codeintel_serving.tools.registry import all_tools
from codeintel_serving.tools.tool import Tool

EVENTS = "text/event-stream"
OF_ANY = (400, 401, 403, 408, 413, 415, 421, 422, 429, 431, 503)
"""What the layers around the routes may answer, whichever is asked."""
_OF_TOOLS = (404, 409, 410, 504)
_T = TypeVar("_T")


def add_tools(app: FastAPI, services: Services, known: KnownBodies) -> None:
    """Add the route of every tool; `/answer` also speaks events. `known` gets the bodies of searches."""
    for tool in all_tools():
        has_events = tool.request is AnswerRequest
        app.add_api_route(
            tool.path,
            _endpoint(tool, services, known),
            methods=["POST"],
            response_model=tool.response,
            responses={**(in_forms(EVENTS) if has_events else {}), **problems(*_OF_TOOLS)},
            summary=tool.summary,
            description=tool.description,
            name=tool.name,
            operation_id=tool.name,
        )


def route_of(app: FastAPI, name: str) -> BaseRoute:
    """The route of the tool of that name."""
    return next(route for route in app.routes if isinstance(route, APIRoute) and route.operation_id == name)


def in_forms(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI response of a success that has text of these types, beside its model if it has one."""
    return {200: {"content": {form: {"schema": {"type": "string"}} for form in media_types}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of refusals."""
    content = {PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {status: {"model": Problem, "content": content} for status in statuses}


def _endpoint(tool: Tool[Any, Any], services: Services, known: KnownBodies) -> Any:
    async def endpoint(body: Any, request: Request) -> Any:
        caller = caller_of(request)
        if isinstance(body, AnswerRequest) and EVENTS in request.headers.get("Accept", ""):
            return EventSourceResponse(_sse(services, body, caller))
        if isinstance(body, SearchRequest):
            known.keep(request.state.body, body)
            return await while_connected(request, _found(services, body, caller))
        return await while_connected(request, tool.run(services, body, caller, None))

    endpoint.__annotations__["body"] = tool.request  # FastAPI reads the model of the body here
    return endpoint


async def _found(services: Services, body: SearchRequest, caller: Caller) -> Response:
    """What was found is JSON already: its model would only be read from it and written again."""
    found = await search.found(services, body, caller)
    return Response(found.json(), media_type="application/json")


async def _sse(services: Services, body: AnswerRequest, caller: Caller) -> AsyncIterator[ServerSentEvent]:
    async for event in orchestrator.events(services, body, caller):
        yield ServerSentEvent(orjson.dumps(event.data()).decode(), event=event.name)
        if isinstance(event, TraceEvent) and event.row["status"] == "error":
            services.runpacks.request(event.row["run_id"])


async def while_connected(request: Request, work: Awaitable[_T]) -> _T | Response:
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
