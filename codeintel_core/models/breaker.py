"""The circuit breaker of one endpoint: after several failures in a row nothing is sent for a while, then one probe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum


class State(StrEnum):
    """What the breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Counts failures in a row; safe to use from several threads and event loops."""

    def __init__(
        self, failures: int = 5, cool_down_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Open after `failures` in a row, for `cool_down_s`; then one request at a time may probe."""
        self._limit, self._cool_down_s, self._clock = failures, cool_down_s, clock
        self._failures = 0
        self._opened_at = 0.0
        self._is_probing = False
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        """Present state."""
        with self._lock:
            return self._state()

    @property
    def retry_in_s(self) -> float:
        """Seconds until a probe may pass, 0 when one may pass now."""
        with self._lock:
            if self._state() is State.CLOSED:
                return 0.0
            return max(0.0, self._opened_at + self._cool_down_s - self._clock())

    def allows(self) -> bool:
        """Whether a request may be sent now; every True is followed by `succeed`, `fail` or `abandon`."""
        with self._lock:
            state = self._state()
            if state is State.OPEN or (state is State.HALF_OPEN and self._is_probing):
                return False
            self._is_probing = state is State.HALF_OPEN
            return True

    def succeed(self) -> None:
        """The endpoint answered (an error about the request counts: the endpoint is alive)."""
        with self._lock:
            self._failures, self._is_probing = 0, False

    def fail(self) -> None:
        """The endpoint did not answer, or said that it cannot."""
        with self._lock:
            self._failures += 1
            self._is_probing = False
            if self._failures >= self._limit:
                self._opened_at = self._clock()

    def abandon(self) -> None:
        """The request was cancelled by us: it says nothing about the endpoint."""
        with self._lock:
            self._is_probing = False

    def _state(self) -> State:
        if self._failures < self._limit:
            return State.CLOSED
        return State.OPEN if self._clock() < self._opened_at + self._cool_down_s else State.HALF_OPEN
