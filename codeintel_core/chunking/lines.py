"""The lines of a file: where they start, which are blank, and how many tokens any range of them holds.

Lines end at "\\n" only (as git counts them): form feeds, U+2028 and a lone "\\r" are content. Ranges are (first, last),
from 0, both inclusive; every chunk is such a range, which keeps spans exact and never cuts a line.
"""

from __future__ import annotations

from bisect import bisect_right
from codecs import BOM_UTF8
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from codeintel_core.chunking.tokens import TokenCounter

_INKED = bytes(byte not in b" \t\n\r\x0b\x0c" for byte in range(256))


class Lines:
    """Lines of one file with their token counts."""

    def __init__(self, data: bytes, encoding: str, tokens: TokenCounter) -> None:
        codes = np.frombuffer(data, dtype=np.uint8)
        ends = np.flatnonzero(codes == ord("\n"))
        starts = np.concatenate(([0], ends + 1))
        if starts[-1] == len(data):
            starts = starts[:-1]  # what follows a final newline is no line
        bounds = np.append(starts, len(data))
        inked = np.frombuffer(data.translate(_INKED), dtype=np.bool_)
        if data.startswith(BOM_UTF8):
            inked = inked.copy()
            inked[:3] = False  # a byte order mark alone makes no line worth a chunk
        self.data = data
        self.count = len(starts)
        self.starts: list[int] = bounds.tolist()
        self.is_blank: list[bool] = (~np.logical_or.reduceat(inked, starts)).tolist()
        self.tokens_before: list[int] = tokens.before(data, encoding, bounds)
        """Tokens before each line, and last the tokens of the whole file."""

    def tokens(self, first: int, last: int) -> int:
        """Tokens of a range."""
        return self.tokens_before[last + 1] - self.tokens_before[first]

    def reach(self, first: int, budget: int) -> int:
        """Last line of the longest range from `first` within `budget` tokens (at least `first` itself)."""
        limit = self.tokens_before[first] + budget
        return max(first, bisect_right(self.tokens_before, limit, lo=first + 1) - 2)

    def trimmed(self, first: int, last: int) -> tuple[int, int] | None:
        """The range without blank lines at its ends; None when all are blank."""
        while first <= last and self.is_blank[first]:
            first += 1
        while last >= first and self.is_blank[last]:
            last -= 1
        return (first, last) if first <= last else None

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Byte range of a range of lines, without its last line ending and without a byte order mark."""
        start, end = self.starts[first], self.starts[last + 1]
        if start == 0 and self.data.startswith(BOM_UTF8):
            start = len(BOM_UTF8)
        if self.data.endswith(b"\n", start, end):
            end -= 2 if self.data.endswith(b"\r\n", start, end) else 1
        return start, end

    def bytes_of(self, first: int, last: int) -> bytes:
        """Content of a range of lines."""
        return self.data[self.starts[first] : self.starts[last + 1]]
