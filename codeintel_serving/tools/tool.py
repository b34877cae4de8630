"""What a tool is, and how the usual one runs: in a thread, over pinned generations, under a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

import anyio.to_thread

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.stopping import part
from codeintel_core.telemetry import Status, current_run, note, step
from codeintel_serving import freshness
from codeintel_serving.budgeting import Page, Rung, page
from codeintel_serving.models import Budget, Envelope, Model, ToolRequest
from codeintel_serving.recording import Caller, ledgered, stages_of
from codeintel_serving.resolving import Resolved
from codeintel_serving.services import Services
from codeintel_serving.tools.registry import SUMMARIES

DEFAULT_DEADLINE_MS = 10_000
_GRACE_S = 0.05  # for work that looks at its deadline itself, and says more about it
_Request = TypeVar("_Request", bound=ToolRequest)
_Response = TypeVar("_Response", bound=Envelope)
_T = TypeVar("_T", bound=Model)

Watch = Callable[[Any], Awaitable[None]]
"""Called with every event of a tool that tells its progress."""
Run = Callable[[Services, _Request, Caller, Watch | None], Awaitable[_Response]]


@dataclass(frozen=True, slots=True)
class Tool(Generic[_Request, _Response]):
    """One tool, for every face.

    Attributes:
        name: of the MCP tool and the command; its line in `registry.SUMMARIES` says what it does.
        avoid: when not to use it, in a sentence.
        request, response: its models; the request's example is shown in the schemas.
        run: does it.
        text: the short text twin of a response.
        path: its address in REST (POST, the request as JSON).
        positional: fields that the command takes as arguments, in their order; the last may be a list.
        needs_models: whether the command loads models before the clock starts.
        is_read_only: False when a call changes something.
        tells_progress: whether it calls its `Watch`.
    """

    name: str
    avoid: str
    request: type[_Request]
    response: type[_Response]
    run: Run[_Request, _Response]
    text: Callable[[_Response], str]
    path: str
    positional: Sequence[str] = ()
    needs_models: bool = False
    is_read_only: bool = True
    tells_progress: bool = False

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        return SUMMARIES[self.name]

    @property
    def description(self) -> str:
        """What it does and when not to use it."""
        return f"{self.summary}\n\n{self.avoid}"


@dataclass(frozen=True, slots=True)
class Call(Generic[_Request]):
    """One call of a tool, its generations pinned until it returns."""

    services: Services
    request: _Request
    caller: Caller
    resolved: Resolved
    deadline: Deadline
    warnings: list[str] = field(default_factory=list)

    def page(
        self,
        found: Sequence[_T],
        shorten: Callable[[_T, Rung], _T],
        file_of: Callable[[_T], str],
        limit: int | None = None,
        spent: int = 0,
    ) -> Page[_T]:
        """The page of the results that the caller asked for (see `budgeting.page`)."""
        return page(found, self.request, self.resolved, shorten, file_of, limit, spent)

    def respond(self, response: type[_Response], budget: Budget, **results: Any) -> _Response:
        """The response with its envelope."""
        return response(**results, budget=budget, **self._envelope())

    def again(self, kept: Kept[_Response]) -> _Response:
        """What another call answered, as the answer of this one."""
        self.warnings.extend(kept.warnings)
        return kept.response.model_copy(update=self._envelope())

    def _envelope(self) -> dict[str, Any]:
        generations = self.resolved.generations
        index = self.services.freshness.entries(generations)
        searched = freshness.coverage(generations, {})
        current = current_run()
        return {
            "index": index,
            "coverage": searched,
            "run_id": current.run_id if current else "",
            "trace_id": current.trace_id if current else "",
            "stages": stages_of(current.steps) if current else [],
            "warnings": [*self.request.scope_warnings, *self.warnings, *freshness.warnings(index, searched)],
        }


@dataclass(frozen=True, slots=True)
class Kept(Generic[_Response]):
    """An answer that may be given again over the same generations, and its warnings that are not about the index."""

    response: _Response
    warnings: tuple[str, ...]


def in_thread(
    name: str, work: Callable[[Call[_Request]], _Response], *, is_kept: bool = False
) -> Run[_Request, _Response]:
    """`Tool.run` for plain code that blocks: `in_thread_unpinned`, with the request's scope resolved and pinned.

    With `is_kept` the same request over the same generations is answered from memory, with a step `cache.results`: for
    work that looks at nothing but these, and changes nothing. A purge counts as soon as it is seen.
    """

    def over_pinned(services: Services, request: _Request, caller: Caller, deadline: Deadline) -> _Response:
        with services.resolver.pin(request, caller) as resolved:
            call = Call(services, request, caller, resolved, deadline)
            if not is_kept:
                return work(call)
            gen_ids = tuple(generation.manifest.gen_id for generation in resolved.generations)
            asked = request.model_dump_json(exclude={"deadline_ms"})
            found, result = services.tool_answers.get(
                (name, gen_ids, resolved.scope, asked, services.purge_stamp()),
                lambda: Kept(work(call), tuple(call.warnings)),
                deadline,
            )
            if result == "miss":
                return cast(_Response, found.response)
            note("cache.results", Status.COMPLETED, result=result)
            return cast(_Response, call.again(found))

    return in_thread_unpinned(name, over_pinned)


def in_thread_unpinned(
    name: str, work: Callable[[Services, _Request, Caller, Deadline], _Response]
) -> Run[_Request, _Response]:
    """`Tool.run` for plain code that blocks.

    It runs in a thread, inside a run with a ledger. When its caller leaves or its deadline passes, its queries and git
    processes are stopped, the deadline it was given is over at once, and it ends at its next look.
    """

    async def running(services: Services, request: _Request, caller: Caller, _watch: Watch | None) -> _Response:
        pending = part()
        deadline = Deadline.after((request.deadline_ms or DEFAULT_DEADLINE_MS) / 1000)

        def recorded(opened: _Request) -> _Response:
            with ledgered(name, caller, services.home), step("tool", tool=name, surface=caller.surface) as current:
                response = work(services, opened, caller, deadline)
                current.set(tokens=response.budget.tokens, truncated=response.budget.truncated)
                return response

        try:
            async with _limited(name, request):
                opened = await services.scopes.opened(request, caller)
                run = pending.context().run
                return await anyio.to_thread.run_sync(run, recorded, opened, abandon_on_cancel=True)
        finally:
            pending.give_up()
            pending.end()

    return running


def in_loop(name: str, work: Callable[[Services, _Request, Caller], Awaitable[_Response]]) -> Run[_Request, _Response]:
    """`Tool.run` for work that waits and does not block; it opens the request's handle itself."""

    async def running(services: Services, request: _Request, caller: Caller, _watch: Watch | None) -> _Response:
        with ledgered(name, caller, services.home), step("tool", tool=name, surface=caller.surface):
            async with _limited(name, request):
                return await work(services, request, caller)

    return running


@asynccontextmanager
async def _limited(name: str, request: ToolRequest) -> AsyncIterator[None]:
    limit_ms = request.deadline_ms or DEFAULT_DEADLINE_MS
    try:
        async with asyncio.timeout(limit_ms / 1000 + _GRACE_S):
            yield
    except TimeoutError:
        raise DeadlineExceeded(
            f"{name} ran past its deadline of {limit_ms} ms; narrow the scope or raise deadline_ms"
        ) from None
