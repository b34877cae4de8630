"""Lists kept in memory, with one bound for all generations of a process, of which a thousand may be open."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sized
from typing import Generic, TypeVar

from cachetools import LRUCache

_EACH = 100  # items that a list counts for beside its own: its name may be as large
_T = TypeVar("_T", bound=Sized)


class Kept(Generic[_T]):
    """The lists last asked for; safe for several threads."""

    def __init__(self, most: int) -> None:
        """`most`: items of all lists together, each list counted as 100 more than it has; a longer one is not kept."""
        self._lists: LRUCache[tuple[object, Hashable], _T] = LRUCache(most, _weight)
        self._lock = threading.Lock()

    def get(self, owner: object, name: Hashable) -> _T | None:
        """The list that the owner has under the name, None when it is not kept."""
        with self._lock:
            found: _T | None = self._lists.get((owner, name))
            return found

    def keep(self, owner: object, name: Hashable, found: _T) -> None:
        """Keep a list in place of those that nobody asked for longest. Nothing may change it from now on."""
        if _weight(found) <= self._lists.maxsize:
            with self._lock:
                self._lists[owner, name] = found

    def forget(self, owner: object) -> None:
        """Let go of all that the owner has."""
        with self._lock:
            for key in [key for key in self._lists if key[0] is owner]:
                del self._lists[key]


def _weight(found: Sized) -> int:
    return _EACH + len(found)
