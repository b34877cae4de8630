"""How many requests a caller may send: a sliding window per key, or per address where there is no key."""

from __future__ import annotations

import math
import time

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from codeintel_core.errors import InvalidRequest, RateLimited


def check_rate(rate: str) -> RateLimitItem:
    """The rate that `600/minute` says; raises `InvalidRequest` naming the form."""
    try:
        return parse(rate)
    except ValueError:
        raise InvalidRequest("a rate limit is a number per unit of time, such as 600/minute or 10/second") from None


class Rates:
    """Counts requests in the memory of this process."""

    def __init__(self) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._parsed: dict[str, RateLimitItem] = {}

    def count(self, who: str, rate: str) -> None:
        """Count one request of `who`, such as `key 0f3a`; raises `RateLimited` when it is one too many."""
        limit = self._parsed.setdefault(rate, check_rate(rate))
        if self._limiter.hit(limit, who):
            return
        wait_s = max(1, math.ceil(self._limiter.get_window_stats(limit, who).reset_time - time.time()))
        raise RateLimited(f"this {who.split(maxsplit=1)[0]} sends more than {rate}; wait {wait_s} s", wait_s)
