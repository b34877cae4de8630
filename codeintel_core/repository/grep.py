"""grep over blobs: user patterns go only to RE2, whose time is linear in the text (github.com/google/re2)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import re2

from codeintel_core.errors import InvalidPattern

MAX_PATTERN_CHARS = 1_000
_MAX_MEMORY = 8 << 20  # bytes of one compiled pattern: RE2's own default
_SYNTAX = "RE2 syntax: no look-around, no back-references, repeats up to 1000"


@dataclass(frozen=True, slots=True)
class MatchingLine:
    """A line that matches, without its end, and the lines around it."""

    line: int  # from 1
    text: str
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Pattern:
    """A compiled pattern that is looked for line by line."""

    def __init__(self, pattern: str, *, is_regex: bool, case_sensitive: bool) -> None:
        """Raises `InvalidPattern` naming what is wrong and where."""
        if not pattern or len(pattern) > MAX_PATTERN_CHARS:
            raise InvalidPattern(f"a pattern has 1..{MAX_PATTERN_CHARS} characters; this one has {len(pattern)}")
        if "\n" in pattern or "\r" in pattern or "\0" in pattern:
            raise InvalidPattern("a pattern is looked for within lines; it has no line ends and no NUL")
        try:
            self._regexp = _compiled(pattern if is_regex else re2.escape(pattern), case_sensitive)
        except UnicodeEncodeError:
            raise InvalidPattern("the pattern is not valid Unicode") from None
        except re2.error as error:
            raise InvalidPattern(_explained(pattern, error)) from None

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


def _compiled(pattern: str, case_sensitive: bool) -> Any:
    """The pattern and the rest of its line, so that a line matches once; refused as it was written."""
    options = re2.Options()
    options.max_mem = _MAX_MEMORY
    options.never_nl = True  # nothing matches across lines
    options.log_errors = False
    options.case_sensitive = case_sensitive
    re2.compile(pattern, options)
    return re2.compile(f"(?m)(?:{pattern})[^\n]*", options)


def _explained(pattern: str, error: Exception) -> str:
    """RE2's words, and where the part that it names stands."""
    why = error.args[0] if error.args else ""
    why = why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)
    _, _, part = why.rpartition(": ")
    at = pattern.find(part) if part and part != why else -1
    where = f"character {at + 1}" if at >= 0 else "its end"
    return f"the pattern is refused at {where}: {why} ({_SYNTAX})"


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
