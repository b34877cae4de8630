"""A model endpoint for callers that wait: coroutines run on one event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from codeintel_core.models.transport import Endpoint
from codeintel_core.stopping import stoppable

_CLOSE_S = 10.0
_T = TypeVar("_T")


class Blocking:
    """The event loop of one endpoint; `wait` may be called from several threads at once. Close it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"{endpoint.role}-endpoint", daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """The result of `work`, or what it raises; the request is closed when nobody waits for it any more."""
        found = asyncio.run_coroutine_threadsafe(work, self._loop)
        with stoppable(found.cancel):
            return found.result()

    def close(self) -> None:
        """Close the connections and stop the thread."""
        if self._thread.is_alive():
            self.wait(self._endpoint.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSE_S)
            self._loop.close()
