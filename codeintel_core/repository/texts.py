"""Texts of files as they may be shown, kept in memory: who looks through a repository again need not read and mask it.

A text is kept for its mirror, under a name of what never changes (object id and encoding, or commit and path) and the
purge list it was masked by. When that list is another one, everything is forgotten, so that what was purged is in
nobody's memory either.
"""

from __future__ import annotations

import threading
from pathlib import Path

from cachetools import LRUCache

MOST_BYTES = 64 << 20
"""Of all repositories of a process together."""

Stamp = tuple[int, ...] | None
_Key = tuple[Path, str, str]


class KeptTexts:
    """The texts last looked at, by mirror and name; safe for several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._texts: LRUCache[_Key, bytes] = LRUCache(most_bytes, getsizeof=len)
        self._stamps: dict[Path, Stamp] = {}
        self._lock = threading.Lock()

    def known(self, mirror: Path, stamp: Stamp, names: list[tuple[str, str]]) -> dict[tuple[str, str], bytes]:
        """Those of the texts that are kept, by name. `stamp` tells the purge list that counts now."""
        with self._lock:
            if self._stamps.setdefault(mirror, stamp) != stamp:
                self._texts.clear()
                self._stamps = {mirror: stamp}
            found = ((name, self._texts.get((mirror, *name))) for name in names)
            return {name: text for name, text in found if text is not None}

    def keep(self, mirror: Path, stamp: Stamp, name: tuple[str, str], text: bytes) -> None:
        """Keep a text that was masked by this purge list or a later one; not when another list counts by now."""
        with self._lock:
            if len(text) <= self.most_bytes and self._stamps.get(mirror, ()) == stamp:
                self._texts[mirror, *name] = text
