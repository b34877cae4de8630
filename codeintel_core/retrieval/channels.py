"""Channels run in parallel, each in its own small pool and under its own deadline, so none can starve another.

One that only looks something up in memory is done sooner than another thread has taken it over, so it runs beside the
others in the thread that waits for them.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError, DeadlineExceeded
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.stopping import is_given_up, part
from codeintel_core.telemetry import Status, Step, metrics, note, step
from codeintel_core.telemetry.steps import detail_of

DENSE, LEXICAL, SYMBOLS, SPARSE, EXACT, REGEX = "dense", "lexical", "symbols", "sparse", "exact", "regex"
CHANNELS = (DENSE, LEXICAL, SYMBOLS, SPARSE, EXACT, REGEX)
COCITATION = "cocitation"
"""Beside `CHANNELS`, which search side by side: it follows from what they found."""
_NOTHING: Ranked = (np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class ChannelResult:
    """What one channel returned, or why it returned nothing."""

    ranked: Ranked
    status: Status
    reason: str = ""


_TIMED_OUT = ChannelResult(_NOTHING, Status.TIMED_OUT, "ran past its deadline")
_CANCELLED = ChannelResult(_NOTHING, Status.CANCELLED, "nobody waits for it any more")
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
        results: dict[str, ChannelResult] = {}
        channels: dict[str, _Channel] = {}
        for name, search in searches.items():
            if isinstance(search, Skipped):
                note(f"retrieve.{name}", Status.SKIPPED, search.reason)
                results[name] = ChannelResult(_NOTHING, Status.SKIPPED, search.reason)
            else:
                channels[name] = _Channel(step(f"retrieve.{name}"), search)
        results |= self._run(channels, deadline)
        for name, result in results.items():
            metrics.CHANNEL_RESULTS.labels(name, result.status.value).inc()
        return {name: _waited_for(results[name]) for name in searches}

    def again(self, name: str, kind: str, search: Search, deadline: Deadline) -> ChannelResult:
        """Run one more search of a channel, as a step of the given kind."""
        return _waited_for(self._run({name: _Channel(step(kind), search)}, deadline)[name])

    def _run(self, channels: Mapping[str, _Channel], deadline: Deadline) -> dict[str, ChannelResult]:
        """How each channel ended; those that are done at once come last, while the others work."""
        work, ended = part(), _Ended(len(channels))
        work.gone.add_done_callback(ended.stop_waiting)
        futures = []
        for name, channel in sorted(channels.items(), key=lambda one: isinstance(one[1].search, AtOnce)):
            with channel.step.around():  # what the search records belongs to its channel
                context = work.context()
            if isinstance(channel.search, AtOnce):
                context.run(channel.run, channel.search.search, ended)
            else:
                futures.append(self._pools[name].submit(context.run, channel.run, channel.search, ended))
        ended.wait(deadline)
        left = _CANCELLED if work.is_given_up else _TIMED_OUT
        results = {name: channel.end(left) for name, channel in channels.items()}
        work.end()
        if any(result is left for result in results.values()):
            work.give_up()
            for future in futures:
                future.cancel()
        return results

    def close(self) -> None:
        """Stop the pools without waiting for hung native calls."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)


class _Ended:
    """Lets one thread sleep until so many channels have ended: woken by each, it would take their interpreter."""

    def __init__(self, channels: int) -> None:
        self._left, self._lock, self._all = channels, threading.Lock(), threading.Event()

    def one_more(self) -> None:
        """One channel has ended."""
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            self._all.set()

    def stop_waiting(self, _: object) -> None:
        """Nobody waits for them any more."""
        self._all.set()

    def wait(self, deadline: Deadline) -> None:
        """Until all have, nobody waits any more, or the deadline has passed."""
        if self._left:
            self._all.wait(deadline.remaining_s)


class _Channel:
    """A search on its way; whoever is first says how it ended: its thread, or who does not wait for it any more."""

    def __init__(self, its_step: Step, search: Search | AtOnce) -> None:
        self.step, self.search = its_step, search
        self._result: ChannelResult | None = None
        self._lock = threading.Lock()

    def run(self, search: Search, ended: _Ended) -> None:
        """Search, in the channel's thread."""
        result, detail = _outcome(search)
        self.end(result, detail)
        ended.one_more()

    def end(self, result: ChannelResult, detail: str = "") -> ChannelResult:
        """How it ended: like this, unless it had ended before."""
        with self._lock:
            if self._result is None:
                self._result = result
                if result.status is Status.COMPLETED:
                    hits = len(result.ranked[0])
                    self.step.set(hits=hits)
                    metrics.CHANNEL_CANDIDATES.labels(self.step.kind.removeprefix("retrieve.")).observe(hits)
                self.step.end(result.status, result.reason, detail)
            return self._result


def _outcome(search: Search) -> tuple[ChannelResult, str]:
    """What a search found, or why it found nothing; and what went wrong, for its step."""
    try:
        return ChannelResult(search(), Status.COMPLETED), ""
    except (DeadlineExceeded, TimeoutError, asyncio.CancelledError):
        return _CANCELLED if is_given_up() else _TIMED_OUT, ""
    except CodeIntelError as error:
        return ChannelResult(_NOTHING, Status.FAILED, str(error)), ""
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # also a panic in Rust: it must not take the others down, and the step names it
        return ChannelResult(_NOTHING, Status.FAILED, type(error).__name__), detail_of(error)


def _waited_for(result: ChannelResult) -> ChannelResult:
    if result.status is Status.CANCELLED:
        raise asyncio.CancelledError(result.reason)
    return result
