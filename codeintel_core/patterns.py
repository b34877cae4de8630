"""Patterns of users: literal text, or regular expressions that RE2 runs in linear time. Never Python's `re`.

Here they are looked for in whole texts; `repository.grep` looks for them line by line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from codeintel_core.errors import InvalidPattern

MAX_PATTERN_CHARS = 1_000
_LINES = "(?m)"  # ^ and $ are the ends of lines, as in grep


@dataclass(frozen=True)
class Pattern:
    """A checked pattern; make one with `literal` or `regex`.

    Attributes:
        text: what was asked.
        is_literal: whether it stands for itself.
    """

    text: str
    is_literal: bool

    @property
    def expression(self) -> str:
        """The regular expression, with the flags it is run with."""
        return _LINES + self.text

    @cached_property
    def _compiled(self) -> Any:
        return compiled(self.expression)

    def spans(self, text: str, most: int) -> list[tuple[int, int]]:
        """The first `most` matches in `text` that do not overlap, as character offsets (start, end)."""
        found: list[tuple[int, int]] = []
        if self.is_literal:
            at = text.find(self.text)
            while at >= 0 and len(found) < most:
                found.append((at, at + len(self.text)))
                at = text.find(self.text, at + len(self.text))
            return found
        for match in self._compiled.finditer(text):
            found.append(match.span())
            if len(found) == most:
                break
        return found


def literal(text: str) -> Pattern:
    """A pattern that stands for itself; raises `InvalidPattern` when it is empty or too long."""
    check(text)
    return Pattern(text, True)


def regex(text: str) -> Pattern:
    """A regular expression in RE2's syntax, its anchors at the ends of lines.

    Raises:
        InvalidPattern: empty, longer than 1,000 characters, not RE2 (the message gives the position and the reason),
            or one that matches the empty text and with it every line.
    """
    check(text)
    compiled(text)
    pattern = Pattern(text, False)
    if pattern._compiled.search("") is not None:
        raise InvalidPattern("the pattern matches the empty text, and so every line; make a part of it obligatory")
    return pattern


def check(text: str) -> None:
    """Raise `InvalidPattern` for a pattern that is empty, too long or not Unicode."""
    if not 1 <= len(text) <= MAX_PATTERN_CHARS:
        raise InvalidPattern(f"a pattern has 1..{MAX_PATTERN_CHARS} characters, not {len(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidPattern(f"the pattern is not valid Unicode at position {error.start}") from None


def compiled(text: str, *, case_sensitive: bool = True, within_lines: bool = False) -> Any:
    """The RE2 object of a regular expression; `within_lines`: nothing that it matches goes past the end of a line.

    Raises:
        InvalidPattern: not RE2; the message gives the position, from 0, and the reason.
    """
    import re2

    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = case_sensitive
    options.never_nl = within_lines
    try:
        return re2.compile(text, options)
    except re2.error as error:
        said = error.args[0]
        reason, _, part = (said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)).partition(": ")
        where = _position(text, reason, part)
        raise InvalidPattern(
            f"the pattern is not a regular expression of RE2 at position {where}: {reason}"
            + (f" '{part}'" if part and part != text else "")
        ) from None


def _position(pattern: str, reason: str, part: str) -> int:
    """Where RE2's complaint is about, from 0: it names the part, and of parentheses only that one is wrong."""
    if part == pattern or part not in pattern:
        return _unbalanced(pattern)
    if reason.startswith("invalid escape"):
        at = -1
        while (at := pattern.find("\\", at + 1)) >= 0:
            if pattern.startswith(part, at):
                return at
            at += 1  # the escaped character
    return pattern.find(part)


def _unbalanced(pattern: str) -> int:
    """Position of the parenthesis without a partner, else the end of the pattern."""
    opened: list[int] = []
    at, in_class = 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            at += 1 + pattern.startswith("^", at + 1)  # a bracket right behind it is a character
            continue
        elif char == "(":
            opened.append(at)
        elif char == ")":
            if not opened:
                return at
            opened.pop()
        at += 1
    return opened[-1] if opened else len(pattern)
