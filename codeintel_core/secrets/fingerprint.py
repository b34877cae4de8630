"""Recognising a text without keeping it: a salted digest, and a rolling hash of which only 16 bits are stored.

The rolling hash (Karp and Rabin, 1987) sifts all windows of the text's length in numpy; what it lets through is
compared by SHA-256. A short or guessable text can be found from its digest by trying; a token or key cannot.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BITS = 16
_Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a text of `length` bytes."""

    length: int
    salt: str
    sift: int
    digest: str

    @classmethod
    def of(cls, text: bytes) -> Fingerprint:
        """The fingerprint of `text` under a fresh salt; raises ValueError when it is empty."""
        if not text:
            raise ValueError("an empty text has no fingerprint")
        salt = secrets.token_hex(16)
        (window,) = _sift(_rolling(text, len(text), salt))
        return cls(len(text), salt, int(window), _digest(text, salt))

    def find(self, data: bytes) -> list[int]:
        """Where the text begins in `data`; occurrences that overlap an earlier one are left out."""
        if len(data) < self.length:
            return []
        candidates = np.flatnonzero(_sift(_rolling(data, self.length, self.salt)) == self.sift)
        found: list[int] = []
        for start in candidates.tolist():
            if found and start < found[-1] + self.length:
                continue
            if _digest(data[start : start + self.length], self.salt) == self.digest:
                found.append(start)
        return found


def _rolling(data: bytes, length: int, salt: str) -> _Words:
    """Hash of each window of `length` bytes, modulo 2**64: sum of byte[i] * base**(length - 1 - i)."""
    base = np.uint64(int(salt[:16], 16) | 1)
    inverse = np.uint64(pow(int(base), -1, 1 << 64))
    count = len(data)
    with np.errstate(over="ignore"):
        down = np.cumprod(np.full(count, inverse, np.uint64))  # base**-(i + 1)
        sums = np.cumsum(np.frombuffer(data, np.uint8).astype(np.uint64) * down)
        windows = sums[length - 1 :].copy()
        windows[1:] -= sums[: count - length]
        up = np.cumprod(np.full(count, base, np.uint64))[length - 1 :]  # base**(start + length)
        return np.asarray(windows * up, np.uint64)


def _sift(windows: _Words) -> _Words:
    return windows >> np.uint64(64 - _BITS)


def _digest(text: bytes, salt: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + text).hexdigest()
