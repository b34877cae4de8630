"""Which trigrams texts may hold: 2 kB for each text, so that a literal is only looked for where it can be.

A sketch has a bit for the hash of each three neighbouring bytes of a text (a Bloom filter with one hash; trigrams as in
https://swtch.com/~rsc/regexp/regexp4.html). Of a text that lacks one of the pattern's nothing is read: among 900 files
a name is in three to thirty of them, and ten more are looked at in vain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from codeintel_core.watched import Stamp

_BITS = 1 << 14
_FACTORS = (40_503, 31_153, 53_759)  # odd, without a common pattern of bits
_LEAST_BYTES = 3
_MOST_TRIGRAMS = 32  # of a pattern; more say nothing new
_FIRST_ROWS = 16
_File = TypeVar("_File")


class Room:
    """How many sketches there may be; safe for several threads."""

    def __init__(self, sketches: int) -> None:
        self._left = sketches
        self._lock = threading.Lock()

    def take(self, sketches: int) -> int:
        """Take room for so many, or as many as are left; how many that are."""
        with self._lock:
            taken = min(sketches, self._left)
            self._left -= taken
            return taken

    def give_back(self, sketches: int) -> None:
        """There is room for so many again."""
        with self._lock:
            self._left += sketches


_ROOM = Room(32_768)  # of all generations of a process: 64 MB


class Sketches:
    """Sketches of the texts of one generation, made as texts are read; safe for several threads.

    They count for the purge list that the texts were masked by: when a text is looked for under another one, all are
    forgotten.
    """

    def __init__(self, room: Room = _ROOM) -> None:
        self._room = room
        self._stamp: Stamp = None
        self._rows: dict[str, int] = {}
        self._bits: NDArray[np.uint8] = np.empty((0, _BITS // 8), np.uint8)
        self._lock = threading.Lock()

    def that_may_hold(
        self, files: Sequence[_File], name_of: Callable[[_File], str], part: bytes, stamp: Stamp
    ) -> list[_File]:
        """The files whose texts may hold `part`: those without a sketch, and those whose sketch has its trigrams.

        `stamp` tells the purge list that counts now.
        """
        wanted = np.unique(_trigrams(part)[:_MOST_TRIGRAMS]) if len(part) >= _LEAST_BYTES else None
        with self._lock:
            if self._stamp != stamp:
                self._stamp, self._rows, self._bits[:] = stamp, {}, 0
            if wanted is None:
                return list(files)
            rows = np.array([self._rows.get(name_of(file), -1) for file in files], np.int64)
            held = self._bits[rows[rows >= 0][:, None], wanted >> 3] & (1 << (7 - (wanted & 7))).astype(np.uint8)
        may_hold = np.ones(len(files), bool)
        may_hold[rows >= 0] = held.all(axis=1)
        return [files[at] for at in np.flatnonzero(may_hold).tolist()]

    def keep(self, name: str, text: bytes, stamp: Stamp) -> None:
        """Sketch a text that was masked by this purge list, unless another list counts by now or there is no room."""
        with self._lock:
            if not self._has_place(name, stamp):
                return
        made = _sketch(text)  # others need not wait for it
        with self._lock:
            if self._has_place(name, stamp):
                self._bits[self._rows.setdefault(name, len(self._rows))] = made

    def close(self) -> None:
        """Forget all, give their room back, and keep nothing from now on."""
        with self._lock:
            self._room.give_back(len(self._bits))
            self._room, self._rows, self._bits = Room(0), {}, self._bits[:0].copy()

    def _has_place(self, name: str, stamp: Stamp) -> bool:
        return self._stamp == stamp and name not in self._rows and (len(self._rows) < len(self._bits) or self._grows())

    def _grows(self) -> bool:
        more = self._room.take(max(_FIRST_ROWS, len(self._bits)))
        if more:
            self._bits = np.concatenate([self._bits, np.zeros((more, _BITS // 8), np.uint8)])
        return more > 0


def _trigrams(text: bytes) -> NDArray[np.uint16]:
    """The hash of each three neighbouring bytes, below `_BITS`, in order."""
    codes = np.frombuffer(text, np.uint8).astype(np.uint16)
    first, second, third = (np.uint16(factor) for factor in _FACTORS)
    mixed = codes[:-2] * first + codes[1:-1] * second + codes[2:] * third  # wraps, as a hash may
    found: NDArray[np.uint16] = (mixed ^ (mixed >> 7)) & np.uint16(_BITS - 1)
    return found


def _sketch(text: bytes) -> NDArray[np.uint8]:
    flags = np.zeros(_BITS, bool)
    if len(text) >= _LEAST_BYTES:
        flags[_trigrams(text)] = True
    return np.packbits(flags)
