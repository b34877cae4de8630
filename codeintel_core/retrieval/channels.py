"""Channels run in parallel, each in its own small pool and under its own deadline, so none can starve another.

One that only looks something up in memory is done sooner than another thread has taken it over, so it runs beside the
others in the thread that waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import numpy as np

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError, DeadlineExceeded
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.stopping import Work, part
from codeintel_core.telemetry import Status, Step, metrics, note, step
from codeintel_core.telemetry.steps import detail_of

DENSE, LEXICAL, SYMBOLS, SPARSE, EXACT, REGEX = "dense", "lexical", "symbols", "sparse", "exact", "regex"
CHANNELS = (DENSE, LEXICAL, SYMBOLS, SPARSE, EXACT, REGEX)
COCITATION = "cocitation"
"""Beside `CHANNELS`, which search side by side: it follows from what they found."""
_NOTHING: Ranked = (np.empty(0, np.int64), np.empty(0, np.float32))
_NOBODY_WAITS = "nobody waits for it any more"


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """What one channel returned, or why it returned nothing."""

    ranked: Ranked
    status: Status
    reason: str = ""


Search = Callable[[], Ranked]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A channel that is not run, and why."""

    reason: str
    degrades: bool = True
    """Whether something is missing; False when nothing asked for the channel or nobody configured it."""


@dataclass(frozen=True, slots=True)
class AtOnce:
    """A search that cannot wait for anything, so that it needs no thread and no deadline."""

    search: Search


Start = Search | AtOnce | Skipped


class ChannelPools:
    """One bounded thread pool per channel."""

    def __init__(self, workers: int) -> None:
        self._pools = {name: ThreadPoolExecutor(workers, thread_name_prefix=f"channel-{name}") for name in CHANNELS}

    def run(self, searches: Mapping[str, Start], deadline: Deadline) -> dict[str, ChannelResult]:
        """Run the searches side by side and gather what is there at the deadline; each is one step.

        What runs past the deadline is stopped; raises `asyncio.CancelledError` when the current work is given up.
        """
        started: dict[str, tuple[Step, Work, Future[Ranked]]] = {}
        results: dict[str, ChannelResult] = {}
        for name, search in searches.items():
            if isinstance(search, Skipped):
                note(f"retrieve.{name}", Status.SKIPPED, search.reason)
                results[name] = ChannelResult(_NOTHING, Status.SKIPPED, search.reason)
            else:
                channel_step, work = step(f"retrieve.{name}"), part()
                with channel_step.around():  # what the search records belongs to its channel
                    context = work.context()
                if isinstance(search, AtOnce):
                    future = _done(context, search.search)
                else:
                    future = self._pools[name].submit(context.run, search)
                started[name] = (channel_step, work, future)
        for name, (channel_step, work, future) in started.items():
            results[name] = _collect(channel_step, work, future, deadline)
        for name, result in results.items():
            metrics.CHANNEL_RESULTS.labels(name, result.status.value).inc()
        if any(result.status is Status.CANCELLED for result in results.values()):
            raise asyncio.CancelledError(_NOBODY_WAITS)
        return {name: results[name] for name in searches}

    def again(self, name: str, kind: str, search: Search, deadline: Deadline) -> ChannelResult:
        """Run one more search of a channel, as a step of the given kind."""
        search_step, work = step(kind), part()
        result = _collect(search_step, work, self._pools[name].submit(work.context().run, search), deadline)
        if result.status is Status.CANCELLED:
            raise asyncio.CancelledError(_NOBODY_WAITS)
        return result

    def close(self) -> None:
        """Stop the pools without waiting for hung native calls."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


def _done(context: Context, search: Search) -> Future[Ranked]:
    """What a pool gives back once its thread has searched."""
    future = Future[Ranked]()
    try:
        future.set_result(context.run(search))
    except BaseException as error:  # whoever collects the result looks at it
        future.set_exception(error)
    return future


def _collect(channel_step: Step, work: Work, future: Future[Ranked], deadline: Deadline) -> ChannelResult:
    detail = ""
    if not future.done():
        awaited: list[Future[Any]] = [future, work.gone]
        wait(awaited, timeout=deadline.remaining_s, return_when=FIRST_COMPLETED)
    is_cancelled = work.is_given_up
    work.end()
    try:
        if not future.done():
            work.give_up()
            future.cancel()
            raise DeadlineExceeded("")
        ranked = future.result()
    except (DeadlineExceeded, TimeoutError, asyncio.CancelledError):
        if is_cancelled:
            result = ChannelResult(_NOTHING, Status.CANCELLED, _NOBODY_WAITS)
        else:
            result = ChannelResult(_NOTHING, Status.TIMED_OUT, "ran past its deadline")
    except CodeIntelError as error:
        result = ChannelResult(_NOTHING, Status.FAILED, str(error))
    except Exception as error:  # a broken channel must not take the others down; the step names it
        result = ChannelResult(_NOTHING, Status.FAILED, type(error).__name__)
        detail = detail_of(error)
    else:
        channel_step.set(hits=len(ranked[0]))
        metrics.CHANNEL_CANDIDATES.labels(channel_step.kind.removeprefix("retrieve.")).observe(len(ranked[0]))
        result = ChannelResult(ranked, Status.COMPLETED)
    channel_step.end(result.status, result.reason, detail)
    return result
