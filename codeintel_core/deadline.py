"""A point in monotonic time that is handed down a call chain, so that every stage knows what is left."""

from __future__ import annotations

import time
from dataclasses import dataclass

from codeintel_core.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """A deadline on the monotonic clock; wall-clock jumps do not move it."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self.at_s

    def within(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now."""
        return Deadline(min(self.at_s, time.monotonic() + seconds))

    def check(self, stage: str) -> None:
        """Raise `DeadlineExceeded` when the deadline has passed."""
        if self.is_over:
            raise DeadlineExceeded(f"{stage} ran past its deadline")
