"""`search`: ranked spans of code."""

from __future__ import annotations

import anyio.to_thread

from codeintel_core.stopping import part
from codeintel_serving.display import inline
from codeintel_serving.explanation import explanation_lines
from codeintel_serving.models import SearchRequest, SearchResponse
from codeintel_serving.recording import Caller
from codeintel_serving.searching import Answered
from codeintel_serving.services import Services
from codeintel_serving.suspicion import lines_of
from codeintel_serving.tools.tool import Tool, Watch


async def _run(services: Services, request: SearchRequest, caller: Caller, _watch: Watch | None) -> SearchResponse:
    return (await found(services, request, caller)).response()


async def found(services: Services, request: SearchRequest, caller: Caller) -> Answered:
    """The search ends within the retrieval budget once it has its turn; it writes its trace row, however it ends."""
    opened = await services.scopes.opened(request, caller)
    if caller.surface != "rest":  # there `api.recall` has looked
        recalled = services.recall(opened, caller)
        if recalled is not None:
            return recalled
    pending = part()
    try:
        return await anyio.to_thread.run_sync(
            pending.context().run, services.find, opened, caller, abandon_on_cancel=True
        )
    finally:
        pending.give_up()
        pending.end()


def _text(found: SearchResponse) -> str:
    lines = []
    for hit in found.results:
        lines.append(f"{hit.id} {inline(hit.symbol)} ({hit.kind}, {hit.score:.3f})")
        lines += lines_of(hit.suspicious)
        lines += [f"  {line}" for line in explanation_lines(hit)]
    return "\n".join(lines or ["no results"])


TOOL = Tool(
    name="search",
    avoid="Do not use it to read a file whose path you know (`read`), nor for a finished explanation (`answer`).",
    request=SearchRequest,
    response=SearchResponse,
    run=_run,
    text=_text,
    path="/search",
    positional=("query",),
    needs_models=True,
)
