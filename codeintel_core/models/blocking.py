"""A model endpoint for callers that wait: coroutines run on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from codeintel_core.models.transport import Endpoint
from codeintel_core.stopping import stoppable

_CLOSE_S = 10.0
_T = TypeVar("_T")


class Blocking:
    """The event loop of one endpoint; `wait` may be called from several threads at once.

    It is closed with `close`, when nobody holds it any more, or at the end of the process.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name=f"{endpoint.role}-endpoint", daemon=True)
        self._end = weakref.finalize(self, _close, endpoint, self._loop, thread)
        thread.start()

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, or what it raises; the request is closed when nobody waits for it any more."""
        found = asyncio.run_coroutine_threadsafe(work, self._loop)
        with stoppable(found.cancel):
            return found.result()

    def close(self) -> None:
        """Close the connections and stop the thread."""
        self._end()


def _close(endpoint: Endpoint, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if thread is threading.current_thread():  # the last one that held it was its own work: nobody can wait for that
        loop.call_soon(loop.stop)
        return
    with suppress(Exception):  # the thread is to end, whatever became of the connections
        asyncio.run_coroutine_threadsafe(endpoint.aclose(), loop).result(_CLOSE_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(_CLOSE_S)
    if not thread.is_alive():
        loop.close()
