"""The answer pipeline: pin, retrieve, verify, synthesize, trace; as typed events from one cancellable generator.

The pipeline runs in its own task, so its context (the run, its steps) does not depend on who iterates; closing the
generator cancels the task. Blocking stages run in threads, those that follow each other in the same one, since handing
over takes as long as a short stage; when the answer ends, however it does, what still runs for it is stopped where it
can be (queries, git, requests to endpoints), and its generations stay pinned until it returns.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, aclosing, suppress
from typing import Any, TypeVar

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.generations.generation import Generation
from codeintel_core.injection import signs
from codeintel_core.retrieval.engine import TUNING, SearchResult
from codeintel_core.retrieval.modes import Mode
from codeintel_core.stopping import Work, begin, is_given_up
from codeintel_core.telemetry import Run, metrics, step
from codeintel_core.traces.record import AnswerTrace
from codeintel_serving import freshness
from codeintel_serving.access.principal import Permission
from codeintel_serving.answer import citations, confidence, synthesis
from codeintel_serving.answer.budget import AnswerBudget
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
from codeintel_serving.answer.rerank import Reranked, as_found, rerank
from codeintel_serving.answer.writing import Writer, Written
from codeintel_serving.hits import suspicions
from codeintel_serving.models import AnswerRequest, AnswerResponse, IndexEntry
from codeintel_serving.problems import problem_of
from codeintel_serving.recording import (
    Asked,
    Caller,
    note_generations,
    note_hits,
    note_lags,
    recorded,
    stages_of,
)
from codeintel_serving.resolving import Resolved, opening_deadline
from codeintel_serving.services import Services

_T = TypeVar("_T")
_LEFT_S, _LATE_S = 0.3, 0.03  # how long the end of an answer waits for what it stopped


async def events(services: Services, request: AnswerRequest, caller: Caller) -> AsyncGenerator[Event]:
    """The events of one answer; the last is always the trace. Errors are events, not exceptions."""
    happened, news = deque[Event](), asyncio.Event()

    def emit(event: Event) -> None:
        happened.append(event)
        news.set()

    task = asyncio.create_task(_Pipeline(services, request, caller, emit).run())
    task.add_done_callback(lambda _: news.set())
    try:
        while happened or not task.done():
            await news.wait()
            news.clear()
            while happened:
                yield happened.popleft()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def answer(
    services: Services, request: AnswerRequest, caller: Caller, watch: Callable[[Event], Awaitable[None]] | None = None
) -> AnswerResponse:
    """The answer as one response; `watch` sees every event as it happens.

    Raises:
        CodeIntelError: why there is none, after the trace row was written.
    """
    happened: list[Event] = []
    async with aclosing(events(services, request, caller)) as stream:
        async for event in stream:
            happened.append(event)
            if watch is not None:
                await watch(event)
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
        model=limits.model,
    )


class _Pipeline:
    """One answer on its way."""

    def __init__(
        self, services: Services, request: AnswerRequest, caller: Caller, emit: Callable[[Event], None]
    ) -> None:
        self._services, self._request, self._caller, self._emit = services, request, caller, emit
        self._budget = AnswerBudget.start(request, services.settings)
        self._running: list[Future[Any]] = []
        self._stages_told = 0

    async def run(self) -> None:
        """Run to the end; emit the trace whatever happens."""
        asked = Asked(
            "answer",
            self._request.question,
            self._request.scope.model_dump_json(),
            Mode.AUTO.value,
            self._services.settings.retrieval_budget_ms,
            self._budget.total_ms,
        )
        row: AnswerTrace | None = None
        pins = ExitStack()
        work = begin()
        home, journal = self._services.home, self._services.journal
        try:
            # Suppressed here: the error event carries the exception, and `recorded` has kept it.
            with suppress(Exception), recorded(asked, self._caller, home, journal) as (run, row):
                try:
                    await self._stages(run, row, pins)
                except asyncio.CancelledError:
                    await self._stop(work, _LEFT_S)
                    raise
                except Exception as error:
                    await self._stop(work, _LATE_S)
                    self._tell_stages(run)
                    self._emit(ErrorEvent(error, problem_of(error)))
                    raise
        finally:
            work.give_up()
            self._when_idle(pins.close)
        if row is not None:
            self._emit(TraceEvent(row.as_row()))

    async def _stages(self, run: Run, row: AnswerTrace, pins: ExitStack) -> None:
        services, request = self._services, self._request
        self._request = request = await services.scopes.opened(request, self._caller, Permission.ANSWER)
        row.scope = request.scope.model_dump_json()
        resolved, reranked, verified = await self._retrieve(run, row, pins)
        generations = resolved.generations
        found = reranked.found
        self._tell_stages(run)
        fresh, index, counting = services.freshness, list[IndexEntry](), None
        if (known := fresh.known_entries(generations)) is not None:
            index = known
            fresh.note(generations, index)
        else:
            counting = self._start(lambda: fresh.entries(generations))  # while the answer is written
        row.citations_verified, row.citations_dropped = len(verified.hits), verified.dropped
        writer = Writer(services.settings, services.chat, self._emit, self._budget)
        try:
            await writer.write(request.question, found, verified.hits, generations)
        finally:
            _note_written(row, writer.written, run)
        written = writer.written
        note_hits(row, found, written.numbers)
        row.status = "empty" if written.found_nothing else "ok"
        if counting is not None:
            index = await self._result(counting, self._budget.wrap_up())
        self._tell_stages(run)
        written.limits[:0] = filter(None, [reranked.problem])
        limits = self._limits(resolved, found, verified, written, index)
        row.limits, row.confidence = limits.limits, limits.confidence.value
        note_lags(row, limits.index)
        self._emit(limits)

    async def _retrieve(self, run: Run, row: AnswerTrace, pins: ExitStack) -> tuple[Resolved, Reranked, Verified]:
        """Pin, search, rerank and verify: one thread does it all where no reranker has to be waited for."""
        services, request, loop = self._services, self._request, asyncio.get_running_loop()
        read = (request.rerank_top_n or services.settings.rerank_candidates) if services.reranker else 0
        in_time = opening_deadline(services.settings.retrieval_budget_ms, self._budget.total)
        pin = services.resolver.pin(request, self._caller, Permission.ANSWER, in_time)

        def search() -> tuple[Resolved, SearchResult]:
            resolved = pins.enter_context(pin)
            note_generations(row, resolved.generations)
            loop.call_soon_threadsafe(self._tell_pinned, run)
            return resolved, services.results.search(
                request.question,
                resolved.generations,
                scope=resolved.scope,
                limit=max(request.top_k, read),
                deadline=self._budget.total,
            )

        def verify(generations: Sequence[Generation], reranked: Reranked) -> Verified:
            note_hits(row, reranked.found)
            return self._verified(reranked, generations)

        def all_at_once() -> tuple[Resolved, Reranked, Verified]:
            resolved, found = search()
            reranked = as_found(found, request.top_k)
            return resolved, reranked, verify(resolved.generations, reranked)

        if services.reranker is None:
            return await self._in_thread(all_at_once)
        resolved, found = await self._in_thread(search)
        reranked = await rerank(
            services.reranker, request.question, found, request.top_k, self._budget.rerank(), read=read
        )
        return resolved, reranked, await self._in_thread(lambda: verify(resolved.generations, reranked))

    def _verified(self, reranked: Reranked, generations: Sequence[Generation]) -> Verified:
        question, hits = self._request.question, reranked.found.hits
        with step("cite.verify") as current:
            if confidence.is_weak(question, hits):
                current.skip("no hit matches well enough to be cited")
                return Verified([], 0)
            chosen = citations.choose(question, hits, self._request.max_citations, is_reranked=reranked.is_reordered)
            owners = {generation.manifest.gen_id: generation for generation in generations}
            verified = citations.verify(chosen, owners)
            current.set(verified=len(verified.hits), dropped=verified.dropped)
            current.set(suspicious=sum(bool(signs(hit.chunk.text)) for hit in verified.hits))
        return verified

    def _limits(
        self,
        resolved: Resolved,
        found: SearchResult,
        verified: Verified,
        written: Written,
        index: list[IndexEntry],
    ) -> LimitsEvent:
        searched = freshness.coverage(resolved.generations, found.degraded, found.idle, resolved.left_out)
        lost = self._request.scope_warnings
        limits = lost + freshness.problems(searched) + found.notes
        told = suspicions(verified.hits)
        if verified.dropped:
            limits.append(f"{verified.dropped} citations were dropped: their text differs from the pinned source")
        trust = confidence.assess(
            self._request.question,
            found.hits,
            written.cited,
            dropped=verified.dropped,
            degraded=[name for name in searched.degraded if name != TUNING],
            cited_share=written.cited_share,
        )
        return LimitsEvent(
            [*limits, *written.limits, *told],
            trust,
            index,
            searched,
            [*lost, *freshness.warnings(index, searched), *told],
            written.model,
        )

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        """Run a blocking stage in a thread, for at most what is left of the budget."""
        return await self._result(self._start(work), self._budget.total)

    def _start(self, work: Callable[[], _T]) -> Future[_T]:
        """Start blocking work in a thread; the generations stay pinned until it returns."""
        future = self._services.submit(work)
        self._running.append(future)
        return future

    async def _result(self, future: Future[_T], deadline: Deadline) -> _T:
        try:
            async with asyncio.timeout(deadline.remaining_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            budget_ms = self._budget.total_ms
            raise DeadlineExceeded(f"the answer took longer than its budget of {budget_ms} ms") from None

    async def _stop(self, work: Work, seconds: float) -> None:
        """Stop what still runs, and wait a moment for it, so that its steps are in the ledger with their status."""
        work.give_up()
        running = [asyncio.wrap_future(future) for future in self._running if not future.done()]
        if running:
            await asyncio.wait(running, timeout=seconds)
        for one in running:
            if not one.cancel() and not one.cancelled():
                one.exception()  # somebody looked at it

    def _when_idle(self, close: Callable[[], None]) -> None:
        """Call `close` once no thread of this answer works any more."""
        working = [future for future in self._running if not future.done()]
        if not working:
            close()
            return
        left, lock = len(working), threading.Lock()

        def one_less(_: Future[Any]) -> None:
            nonlocal left
            with lock:
                left -= 1
                is_last = left == 0
            if is_last:
                close()

        for future in working:
            future.add_done_callback(one_less)

    def _tell_pinned(self, run: Run) -> None:
        """Called for the thread that retrieves, which an answer that was given up does not wait for."""
        if not is_given_up():
            self._tell_stages(run)

    def _tell_stages(self, run: Run) -> None:
        """Emit the steps that ended since the last call."""
        ended = run.steps[self._stages_told :]
        self._stages_told += len(ended)
        for stage in stages_of(ended):
            self._emit(StageEvent(stage))


def _note_written(row: AnswerTrace, written: Written, run: Run) -> None:
    """Keep how the answer came about, also of one that was cancelled halfway."""
    row.answer, row.model, row.prompt_version = written.text, written.model, written.prompt_version
    row.tokens_in, row.tokens_out, row.finish = written.tokens_in, written.tokens_out, written.finish
    row.tokens_per_second = written.tokens_per_second
    row.citations_dropped += written.unknown_citations
    if written.first_token_at_s:
        first_token_s = written.first_token_at_s - run.started_monotonic
        row.time_to_first_token_ms = round(first_token_s * 1000, 3)
        writer = synthesis.MODEL if written.model == synthesis.MODEL else "chat"
        metrics.FIRST_TOKEN_SECONDS.labels(writer).observe(first_token_s)
