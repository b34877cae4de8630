"""The answer pipeline: pin, retrieve, verify, synthesize, trace; as typed events from one cancellable generator.

The pipeline runs in its own task, so its context (the run, its steps) does not depend on who iterates; closing the
generator cancels the task. Blocking stages run in threads; one that outlives its deadline is left behind, and the
generations it uses stay pinned until it returns.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.generations.generation import Generation
from codeintel_core.retrieval.engine import Hit, Mode, SearchResult
from codeintel_core.telemetry import Run, Status, step
from codeintel_core.traces.record import AnswerTrace
from codeintel_serving import freshness
from codeintel_serving.answer import citations, confidence, synthesis
from codeintel_serving.answer.citations import Verified
from codeintel_serving.answer.events import (
    CitationEvent,
    ErrorEvent,
    Event,
    LimitsEvent,
    StageEvent,
    TokenEvent,
    TraceEvent,
)
from codeintel_serving.models import AnswerRequest, AnswerResponse, StageModel
from codeintel_serving.problems import problem_of
from codeintel_serving.recording import Asked, Caller, note_generations, note_hits, recorded
from codeintel_serving.services import Services

_T = TypeVar("_T")


async def events(services: Services, request: AnswerRequest, caller: Caller) -> AsyncGenerator[Event]:
    """The events of one answer; the last is always the trace. Errors are events, not exceptions."""
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    pipeline = _Pipeline(services, request, caller, queue.put_nowait)
    task = asyncio.create_task(pipeline.run())
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
    finally:
        task.cancel()
        await asyncio.wait([task])


async def answer(services: Services, request: AnswerRequest, caller: Caller) -> AnswerResponse:
    """The answer as one response.

    Raises:
        CodeIntelError: why there is none, after the trace row was written.
    """
    happened = [event async for event in events(services, request, caller)]
    failed = next((event for event in happened if isinstance(event, ErrorEvent)), None)
    if failed is not None:
        raise failed.error
    limits = next(event for event in happened if isinstance(event, LimitsEvent))
    row = next(event for event in happened if isinstance(event, TraceEvent)).row
    return AnswerResponse(
        answer="".join(event.text for event in happened if isinstance(event, TokenEvent)),
        citations=[event.citation for event in happened if isinstance(event, CitationEvent)],
        confidence=limits.confidence,
        stages=[event.stage for event in happened if isinstance(event, StageEvent)],
        limits=limits.limits,
        coverage=limits.coverage,
        index=limits.index,
        warnings=limits.warnings,
        run_id=row["run_id"],
        trace_id=row["otel_trace_id"],
        model=synthesis.MODEL,
    )


class _Pipeline:
    """One answer on its way."""

    def __init__(
        self, services: Services, request: AnswerRequest, caller: Caller, emit: Callable[[Event], None]
    ) -> None:
        self._services, self._request, self._caller, self._emit = services, request, caller, emit
        self._budget_ms = min(request.time_budget_ms or 1 << 31, services.settings.answer_budget_ms)
        self._deadline = Deadline.after(self._budget_ms / 1000)
        self._running: Future[Any] | None = None
        self._stages_told = 0

    async def run(self) -> None:
        """Run to the end; emit the trace whatever happens."""
        asked = Asked(
            "answer",
            self._request.question,
            self._request.scope.model_dump_json(),
            Mode.HYBRID.value,
            self._services.settings.retrieval_budget_ms,
            self._budget_ms,
        )
        row: AnswerTrace | None = None
        pins = ExitStack()
        home, journal = self._services.home, self._services.journal
        try:
            # Suppressed here: the error event carries the exception, and `recorded` has kept it.
            with suppress(Exception), recorded(asked, self._caller, home, journal) as (run, row):
                try:
                    await self._stages(run, row, pins)
                except Exception as error:
                    self._tell_stages(run)
                    self._emit(ErrorEvent(error, problem_of(error)))
                    raise
        finally:
            self._when_idle(pins.close)
        if row is not None:
            self._emit(TraceEvent(row.as_row()))

    async def _stages(self, run: Run, row: AnswerTrace, pins: ExitStack) -> None:
        services, request = self._services, self._request
        with step("scope.resolve"):
            scope = request.scope.as_scope()
            generations = await self._in_thread(lambda: pins.enter_context(services.library.pin(scope.repos)))
        note_generations(row, generations)
        found = await self._in_thread(
            lambda: services.engine.search(
                request.question, generations, scope=scope, limit=request.limit, deadline=self._deadline
            )
        )
        note_hits(row, found)
        self._tell_stages(run)
        verified = await self._cite(found, {g.manifest.gen_id: g for g in generations})
        note_hits(row, found, frozenset(hit.chunk.chunk_id for hit in verified.hits))
        row.citations_verified, row.citations_dropped = len(verified.hits), verified.dropped
        row.model = synthesis.MODEL
        row.answer = self._synthesize(found, generations, verified.hits)
        row.status = "ok" if verified.hits else "empty"
        self._tell_stages(run)
        limits = await self._in_thread(lambda: self._limits(found, generations, verified))
        row.limits, row.confidence = limits.limits, limits.confidence.value
        self._emit(limits)

    async def _cite(self, found: SearchResult, generations: dict[str, Generation]) -> Verified:
        question = self._request.question
        with step("cite.verify") as current:
            if confidence.is_weak(question, found.hits):
                current.skip("no hit matches well enough to be cited")
                return Verified([], 0)
            chosen = citations.choose(question, found.hits, self._request.max_citations)
            verified = await self._in_thread(lambda: citations.verify(chosen, generations))
            current.set(verified=len(verified.hits), dropped=verified.dropped)
        for number, hit in enumerate(verified.hits, 1):
            self._emit(CitationEvent(citations.citation(number, hit, generations[hit.gen_id])))
        return verified

    def _synthesize(self, found: SearchResult, generations: list[Generation], cited: list[Hit]) -> str:
        with step("synthesize", citations=len(cited)):
            if cited:
                pieces = list(synthesis.pieces(self._request.question, cited))
            else:
                completed = [name for name, result in found.channels.items() if result.status is Status.COMPLETED]
                pieces = list(synthesis.not_found(generations, completed, found.hits))
        for piece in pieces:
            self._emit(TokenEvent(piece))
        return "".join(pieces)

    def _limits(self, found: SearchResult, generations: list[Generation], verified: Verified) -> LimitsEvent:
        index = self._services.freshness.entries(generations)
        searched = freshness.coverage(generations, found.degraded)
        limits = [f"{name} channel {reason}" for name, reason in searched.degraded.items()]
        if verified.dropped:
            limits.append(f"{verified.dropped} citations were dropped: their text differs from the pinned source")
        trust = confidence.assess(
            self._request.question,
            found.hits,
            verified.hits,
            dropped=verified.dropped,
            degraded=list(searched.degraded),
        )
        return LimitsEvent(limits, trust, index, searched, freshness.warnings(index, searched))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run a blocking stage in a thread, for at most what is left of the budget."""
        self._running = future = self._services.submit(work)
        try:
            async with asyncio.timeout(self._deadline.remaining_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise DeadlineExceeded(f"the answer took longer than its budget of {self._budget_ms} ms") from None

    def _when_idle(self, close: Callable[[], None]) -> None:
        """Call `close` once no thread of this answer works any more."""
        if self._running is None or self._running.done():
            close()
        else:
            self._running.add_done_callback(lambda _: close())

    def _tell_stages(self, run: Run) -> None:
        """Emit the steps that ended since the last call."""
        ended = run.steps[self._stages_told :]
        self._stages_told += len(ended)
        for s in ended:
            stage = StageModel(
                name=s.kind, status=s.status.value, reason=s.reason, start_ms=s.start_ms, ms=s.duration_ms
            )
            self._emit(StageEvent(stage))
