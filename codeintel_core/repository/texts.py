"""Texts of files as they may be shown, kept in memory: who looks through a repository again need not read and mask it.

A text is kept for its mirror, under a name of what never changes (object id and encoding, or commit and path) and the
purge list it was masked by. When that list is another one, everything is forgotten, so that what was purged is in
nobody's memory either.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from codeintel_core.watched import Stamp

MOST_BYTES = 64 << 20
"""Of all repositories of a process together."""

Name = tuple[str, str, str]
"""Of a text: its mirror, and what never changes, such as object id and encoding."""


class KeptTexts:
    """The texts last looked at; safe for several threads."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._texts: OrderedDict[Name, bytes] = OrderedDict()  # the last used at the end
        self._size_bytes = 0
        self._stamps: dict[str, Stamp] = {}
        self._lock = threading.Lock()

    def known(self, mirror: str, stamp: Stamp, names: list[Name]) -> list[bytes | None]:
        """The text of each name, None where it is not kept. `stamp` tells the purge list that counts now."""
        with self._lock:
            if self._stamps.setdefault(mirror, stamp) != stamp:
                self._texts.clear()
                self._size_bytes = 0
                self._stamps = {mirror: stamp}
            get = self._texts.get
            found = [get(name) for name in names]
            if self._size_bytes > self.most_bytes // 2:  # else nothing is displaced soon, whatever was used last
                for name, text in zip(names, found, strict=True):
                    if text is not None:
                        self._texts.move_to_end(name)
        return found

    def keep(self, mirror: str, stamp: Stamp, name: Name, text: bytes) -> None:
        """Keep a text that was masked by this purge list or a later one; not when another list counts by now."""
        with self._lock:
            if len(text) > self.most_bytes or self._stamps.get(mirror, ()) != stamp or name in self._texts:
                return
            self._texts[name] = text
            self._size_bytes += len(text)
            while self._size_bytes > self.most_bytes:
                self._size_bytes -= len(self._texts.popitem(last=False)[1])
