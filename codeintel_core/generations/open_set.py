"""Which repositories have their served generation open: a bound, kept by closing what was not used for longest."""

from __future__ import annotations

import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge

from codeintel_core.telemetry import metrics

OPENED = Counter(
    "codeintel_generations_opened_total", "Served generations opened: first, or again after they were closed.",
    ["time"], registry=metrics.REGISTRY,
)  # fmt: skip
EVICTED = Counter(
    "codeintel_generations_evicted_total", "Served generations closed to keep the bound on open ones.",
    registry=metrics.REGISTRY,
)  # fmt: skip
OPEN = Gauge("codeintel_generations_open", "Served generations that are open.", registry=metrics.REGISTRY)

_DESCRIPTORS_EACH = 5  # a lease, primary and secondary, catalog and overlay
_DESCRIPTORS_BESIDE = 200  # the JVM, connections, journals, git processes
_LEAST = 4


@dataclass(slots=True)
class OpenSet:
    """The names of repositories that are open, the last used at the end; safe to use from several threads.

    What requests are using is never closed, so while they run there may be more than `most`.

    Attributes:
        most: how many stay open when nobody uses them.
    """

    most: int
    _names: OrderedDict[str, Callable[[], bool]] = field(default_factory=OrderedDict)
    _seen: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def opened(self, name: str, close: Callable[[], bool]) -> None:
        """Say that a repository is open now; `close` closes it unless it is in use, and tells whether it did."""
        with self._lock:
            if name not in self._names:
                OPENED.labels("again" if name in self._seen else "first").inc()
            self._seen.add(name)
            self._names[name] = close
            self._names.move_to_end(name)
            OPEN.set(len(self._names))

    def used(self, name: str) -> None:
        """Say that a request uses it now."""
        with self._lock:
            if name in self._names:
                self._names.move_to_end(name)

    def closed(self, name: str) -> None:
        """Say that it is not open any more."""
        with self._lock:
            self._names.pop(name, None)
            OPEN.set(len(self._names))

    def trim(self) -> None:
        """Close the longest unused ones until the bound is kept, or only those in use are left."""
        with self._lock:
            surplus = len(self._names) - self.most
            oldest = list(self._names.items()) if surplus > 0 else []
        for name, close in oldest:  # outside the lock: closing waits for the JVM
            if surplus <= 0:
                return
            if close():
                surplus -= 1
                EVICTED.inc()
                self.closed(name)

    @property
    def has_room(self) -> bool:
        """Whether one more stays within the bound."""
        with self._lock:
            return len(self._names) < self.most

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._names)

    @property
    def verified(self) -> int:
        """How many were open at some time, and so verified, by this process."""
        return len(self._seen)


def affordable(wanted: int) -> int:
    """`wanted`, or as many as the limit on open files of this process allows."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if files == resource.RLIM_INFINITY else min(wanted, max(_LEAST, _affords(files)))


def _affords(files: int) -> int:
    return (files - _DESCRIPTORS_BESIDE) // _DESCRIPTORS_EACH
