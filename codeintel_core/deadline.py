"""A point in monotonic time that is handed down a call chain, so that every stage knows what is left."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass

from codeintel_core.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline on the monotonic clock; wall-clock jumps do not move it.

    Work whose caller left is over too: `stop`, when given, ends every deadline that was made from this one.
    """

    at_s: float
    stop: threading.Event | None = None

    @classmethod
    def after(cls, seconds: float, stop: threading.Event | None = None) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds, stop)

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return 0.0 if self._is_stopped else max(0.0, self.at_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed, or nobody waits any more."""
        return self._is_stopped or time.monotonic() >= self.at_s

    @property
    def _is_stopped(self) -> bool:
        return self.stop is not None and self.stop.is_set()

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at_s, time.monotonic() + seconds), self.stop)

    def check(self, stage: str) -> None:
        """Raise `DeadlineExceeded` when the deadline has passed, `CancelledError` when nobody waits any more."""
        if time.monotonic() >= self.at_s:
            raise DeadlineExceeded(f"{stage} ran past its deadline")
        if self._is_stopped:
            raise asyncio.CancelledError(f"{stage} was cancelled")
