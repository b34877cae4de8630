"""Turns: few searches of one process compute at the same time, the others wait for theirs.

Half of a search is Python, of which an interpreter runs one thread at a time: more of them only take it from each
other. With 8 threads, two at a time answer as many searches as all at once, or up to a fifth more; in a server under
load what needs no search (pages in memory, health, streams) waits half as long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from codeintel_core.deadline import Deadline
from codeintel_core.settings import Settings

_AT_ONCE = 2  # one in Python while the other is in Lucene, FAISS or ONNX; three took as long as all
_PATIENCE_S = 0.25
_SHARE = 0.5
_ANY = 10_000  # as many as there can be slots


class Turns:
    """Safe to use from several threads.

    Nobody waits for long: whoever has a turn may be stuck in something slow, and this is no bulkhead.
    """

    def __init__(self, at_once: int) -> None:
        self._free = threading.Semaphore(at_once)

    @classmethod
    def of(cls, settings: Settings) -> Turns:
        """Where the vectors of a query or its neighbours come over the network, searches wait for that together."""
        asks_others = settings.embed_base_url or settings.sparse_base_url or settings.vector_engine
        return cls(_ANY if asks_others else _AT_ONCE)

    @contextmanager
    def taken(self, deadline: Deadline) -> Iterator[float]:
        """Wait for a turn and hold it; yields the seconds waited: at most .25, and half of what is left."""
        if self._free.acquire(blocking=False):
            waited_s, is_held = 0.0, True
        else:
            since = time.monotonic()
            is_held = self._free.acquire(timeout=min(_PATIENCE_S, _SHARE * deadline.remaining_s))
            waited_s = time.monotonic() - since
        try:
            yield waited_s
        finally:
            if is_held:
                self._free.release()
