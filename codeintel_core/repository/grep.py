"""grep over blobs: user patterns go only to RE2, whose time is linear in the text (github.com/google/re2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import re2

from codeintel_core import patterns
from codeintel_core.errors import InvalidPattern
from codeintel_core.obligatory import obligatory


@dataclass(frozen=True, slots=True)
class MatchingLine:
    """A line that matches, without its end, and the lines around it."""

    line: int  # from 1
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class LinePattern:
    """A compiled pattern that is looked for line by line.

    Attributes:
        part: what is part of every match, b'' when that is not known: without it in a text, RE2 need not look.
    """

    def __init__(self, pattern: str, *, is_regex: bool, case_sensitive: bool) -> None:
        """Raises `InvalidPattern` naming what is wrong and where."""
        patterns.check(pattern)
        if "\n" in pattern or "\r" in pattern or "\0" in pattern:
            raise InvalidPattern("a pattern is looked for within lines; it has no line ends and no NUL")
        if is_regex:
            patterns.compiled(pattern)  # refused as it was written
        # The rest of the line goes with a match, so that a line matches once.
        whole = f"(?m)(?:{pattern if is_regex else re2.escape(pattern)})[^\n]*"
        self._regexp = patterns.compiled(whole, case_sensitive=case_sensitive, within_lines=True)
        part = obligatory(pattern) if is_regex else pattern
        self.part = part.encode() if case_sensitive else b""

    def count(self, data: bytes) -> int:
        """How many lines match."""
        return sum(1 for _ in self._matching(_plain(data)))

    def lines(self, data: bytes, context: int = 0, most: int | None = None) -> Iterator[MatchingLine]:
        """The first `most` lines that match, in order, with `context` lines around each.

        Args:
            data: the text as UTF-8; what is not becomes U+FFFD in the result.
        """
        data = _plain(data)
        number, counted = 1, 0
        for start, end in islice(self._matching(data), most):
            number += data.count(b"\n", counted, start)
            counted = start
            yield MatchingLine(
                number, _text(data[start:end]), _before(data, start, context), _after(data, end, context)
            )

    def _matching(self, data: bytes) -> Iterator[tuple[int, int]]:
        """(first byte, byte after the last) of each line that matches, once."""
        at, size = 0, len(data)
        for match in self._regexp.finditer(data):
            found = match.start()
            if found < at or (found == size and data.endswith(b"\n")):
                continue
            start = data.rfind(b"\n", 0, found) + 1
            end = data.find(b"\n", found)
            end = size if end < 0 else end
            at = end + 1
            yield start, end


def _plain(data: bytes) -> bytes:
    """The text with line feeds alone as line ends, so that `$` stands before them."""
    return data.replace(b"\r\n", b"\n") if b"\r" in data else data


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


def _before(data: bytes, start: int, context: int) -> tuple[str, ...]:
    found: deque[str] = deque()
    end = start - 1
    while len(found) < context and end >= 0:
        begin = data.rfind(b"\n", 0, end) + 1
        found.appendleft(_text(data[begin:end]))
        end = begin - 1
    return tuple(found)


def _after(data: bytes, end: int, context: int) -> tuple[str, ...]:
    found: list[str] = []
    start = end + 1
    while len(found) < context and start < len(data):
        stop = data.find(b"\n", start)
        stop = len(data) if stop < 0 else stop
        found.append(_text(data[start:stop]))
        start = stop + 1
    return tuple(found)
