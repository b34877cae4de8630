"""Giving up: what still runs for somebody who has left, or whose deadline has passed, is stopped at the bottom.

A `Work` stands for what is done for one request; threads find it in their context. Whoever blocks in native code or
on a socket says how it can be stopped (`stoppable`); whoever works in steps looks at its deadline, which is over then.
Whoever decides that nobody waits any more calls `give_up`. What was stopped raises `asyncio.CancelledError`, as a
cancelled task does, so that no fallback takes it for a failure.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

_current: contextvars.ContextVar[Work | None] = contextvars.ContextVar("codeintel_work", default=None)


class Work:
    """What is done for one request, or for a part of it; a part is given up with the whole.

    Attributes:
        gone: done once it was given up; to be waited for beside a result.
    """

    def __init__(self, whole: Work | None = None) -> None:
        self.gone: Future[None] = Future()
        self._stops: dict[int, Callable[[], object]] = {}
        self._number = 0
        self._lock = threading.Lock()
        self._whole = whole
        self._at = whole._add(self.give_up) if whole is not None else 0

    @property
    def is_given_up(self) -> bool:
        """Whether nobody waits for it any more."""
        return self.gone.done()

    def context(self) -> contextvars.Context:
        """A copy of the present context in which this is the current work."""
        found = contextvars.copy_context()
        found.run(_current.set, self)
        return found

    def end(self) -> None:
        """Say that it is over: nothing is left to be stopped."""
        if self._whole is not None:
            self._whole._remove(self._at)

    def give_up(self) -> None:
        """Stop everything that runs for it; what starts later is refused."""
        with self._lock:
            if self.gone.done():
                return
            self.gone.set_result(None)
            stops = list(self._stops.values())
        for stop in stops:
            stop()

    def _add(self, stop: Callable[[], object]) -> int:
        with self._lock:
            if not self.gone.done():
                self._number += 1
                self._stops[self._number] = stop
                return self._number
        raise asyncio.CancelledError("nobody waits for this any more")

    def _remove(self, at: int) -> None:
        with self._lock:
            self._stops.pop(at, None)


def begin() -> Work:
    """New work, current from here on in this context; part of the one that was current."""
    work = Work(_current.get())
    _current.set(work)
    return work


def part() -> Work:
    """New work, part of the current one if there is one, to be made current in another context (`Work.context`)."""
    return Work(_current.get())


def is_given_up() -> bool:
    """Whether nobody waits any more for what is done in this context."""
    work = _current.get()
    return work is not None and work.is_given_up


@contextmanager
def stoppable(stop: Callable[[], object]) -> Iterator[None]:
    """A block that `stop` ends when the current work is given up; `stop` runs in another thread, perhaps too late.

    Raises:
        asyncio.CancelledError: it was given up before or during the block, and the block failed or did not begin.
    """
    work = _current.get()
    if work is None:
        yield
        return
    at = work._add(stop)
    try:
        yield
    except Exception as error:
        if work.is_given_up:
            raise asyncio.CancelledError("stopped") from error
        raise
    finally:
        work._remove(at)
