"""A point in monotonic time that is handed down a call chain, so that every stage knows what is left."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from codeintel_core.errors import DeadlineExceeded
from codeintel_core.stopping import is_given_up


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline on the monotonic clock; wall-clock jumps do not move it.

    For work that was given up (`stopping`) every deadline is over.
    """

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return 0.0 if is_given_up() else max(0.0, self.at_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed, or nobody waits any more."""
        return is_given_up() or time.monotonic() >= self.at_s

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at_s, time.monotonic() + seconds))

    def check(self, stage: str) -> None:
        """Raise `DeadlineExceeded` when the deadline has passed, `CancelledError` when nobody waits any more."""
        if time.monotonic() >= self.at_s:
            raise DeadlineExceeded(f"{stage} ran past its deadline")
        if is_given_up():
            raise asyncio.CancelledError(f"{stage} was cancelled")
