"""Generated text on its way out: citations are taken from the stream as it comes, and nothing else in it is active.

Outside code only `[n]` of a given snippet survives as a bracket; other brackets become parentheses, so no link, image
or footnote can form, and `<` becomes `‹`. A code span or fence is passed through as it is, but only once it is certain
that a Markdown reader sees it as code too.
"""  # noqa: RUF002 (the look-alike is the point)

from __future__ import annotations

import re
from collections.abc import Collection

from codeintel_serving.display import printable

_SPECIAL = re.compile(r"[\n`\[\]<\\]")
_CITATION = re.compile(r"\[\^?\s*(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\s*\]")  # noqa: RUF001 (models write en dashes)
_CITATION_BEGUN = re.compile(r"\[\^?[\d\s,;–-]{0,60}\Z")  # noqa: RUF001
_FENCE = re.compile(r" {0,3}(`{3,}+|~{3,}+)([^\n]*+)\n")
_FENCE_BEGUN = re.compile(r" {0,3}(`{0,2}|~{0,2}|`{3,}+[^\n]{0,200}+|~{3,}+[^\n]{0,200}+)\Z")
_MAX_SPAN_CHARS = 400
_MAX_RUN = 20
_MAX_RANGE = 20
_SENTENCE = re.compile(r".+?(?:[.!?](?:\s*\[\d+\])*(?=\s|\Z)|\n|\Z)", re.S)
_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,}).*?(?:^ {0,3}\1[`~]*\s*$|\Z)", re.M | re.S)
_CITED = re.compile(r"\[\d+\]")
_MIN_WORDS = 4


class CitedText:
    """Filters a stream of text.

    Attributes:
        cited: numbers cited so far, in the order of their first mention.
        unknown: citations of snippets that were not given; they are dropped from the text.
    """

    def __init__(self, known: Collection[int]) -> None:
        self.cited: list[int] = []
        self.unknown = 0
        self._known = frozenset(known)
        self._pending = ""
        self._fence = ""
        self._is_line_start = True
        self._is_after_citation = False

    def feed(self, text: str) -> str:
        """What can be shown now."""
        self._pending += printable(text)
        return self._drain(is_end=False)

    def close(self) -> str:
        """What was held back; a fence that was left open is closed."""
        shown = self._drain(is_end=True)
        if self._fence:
            shown += ("" if self._is_line_start else "\n") + self._fence + "\n"
            self._fence = ""
        return shown

    def _drain(self, *, is_end: bool) -> str:
        out: list[str] = []
        while self._pending:
            if self._is_line_start:
                if (fence := _FENCE.match(self._pending)) is not None:
                    out.append(self._fence_line(fence))
                    continue
                if not is_end and _FENCE_BEGUN.match(self._pending):
                    break
                self._is_line_start = False
            if self._fence:
                line, newline, rest = self._pending.partition("\n")
                out.append(line + newline)
                self._pending, self._is_line_start = rest, bool(newline)
                continue
            if not self._plain(out, is_end=is_end):
                break
        return "".join(out)

    def _fence_line(self, fence: re.Match[str]) -> str:
        """The line of an opening or closing fence, or of one that only looks like it."""
        marks, info = fence[1], fence[2]
        if self._fence:
            if marks[0] == self._fence[0] and len(marks) >= len(self._fence) and not info.strip():
                self._fence = ""
            self._pending = self._pending[fence.end() :]
            return fence[0]
        if marks[0] == "`" and "`" in info:
            self._is_line_start = False
            return ""  # not a fence: the spans of its line are looked at one by one
        self._pending, self._fence = self._pending[fence.end() :], marks
        return f"{marks}{re.sub(r'[^a-zA-Z0-9+#-]', '', info)[:20]}\n"

    def _plain(self, out: list[str], *, is_end: bool) -> bool:
        """Move on by one piece outside fences; False when more text is needed to decide."""
        if self._is_after_citation and self._pending[0] in "(:":
            out.append(" ")  # `[1](…)` would be a link and `[1]: …` the target of one
        self._is_after_citation = False
        found = _SPECIAL.search(self._pending)
        if found is None:
            out.append(self._pending)
            self._pending = ""
            return True
        out.append(self._pending[: found.start()])
        self._pending = self._pending[found.start() :]
        sign = self._pending[0]
        if sign == "\\":
            run = len(self._pending) - len(self._pending.lstrip("\\"))
            if run == len(self._pending) and not is_end:
                self._pending = self._pending[:_MAX_RUN]
                return False
            if self._pending[run : run + 1] != "`":  # an escaped backtick would open no span for a reader, but for us
                out.append(self._pending[: min(run, _MAX_RUN)])
            self._pending = self._pending[run:]
        elif sign == "`":
            return self._span(out, is_end=is_end)
        elif sign == "[":
            return self._bracket(out, is_end=is_end)
        else:
            out.append({"]": ")", "<": "‹", "\n": "\n"}[sign])  # noqa: RUF001
            self._is_line_start = sign == "\n"
            self._pending = self._pending[1:]
        return True

    def _span(self, out: list[str], *, is_end: bool) -> bool:
        marks = self._pending[: len(self._pending) - len(self._pending.lstrip("`"))]
        line = self._pending.partition("\n")[0]
        if len(marks) == len(self._pending) <= _MAX_RUN and not is_end:
            return False
        is_span = len(marks) <= _MAX_RUN
        closing = re.search(rf"(?<!`){marks}(?!`)", line[len(marks) :]) if is_span else None
        end = closing.end() + len(marks) if closing else 0
        if closing and (end < len(self._pending) or is_end):
            out.append(self._pending[:end])
            self._pending = self._pending[end:]
        elif is_end or not is_span or len(line) < len(self._pending) or len(line) > _MAX_SPAN_CHARS:
            out.append("'" * len(marks))  # never closed: for a reader the rest would not be code
            self._pending = self._pending[len(marks) :]
        else:
            return False
        return True

    def _bracket(self, out: list[str], *, is_end: bool) -> bool:
        citation = _CITATION.match(self._pending)
        if citation is not None:
            out.append("".join(f"[{number}]" for number in self._cite(citation[1])))
            self._pending = self._pending[citation.end() :]
            self._is_after_citation = True
        elif not is_end and _CITATION_BEGUN.match(self._pending):
            return False
        else:
            out.append("(")
            self._pending = self._pending[1:]
        return True

    def _cite(self, numbers: str) -> list[int]:
        known = []
        for number in _numbers(numbers):
            if number not in self._known:
                self.unknown += 1
                continue
            known.append(number)
            if number not in self.cited:
                self.cited.append(number)
        return known


def _numbers(text: str) -> list[int]:
    """Numbers of `1`, `1, 2` or `1-3`; a range that is too long or runs backwards is its two ends."""
    found: list[int] = []
    for part in re.split(r"[,;]", text):
        ends = [int(number) for number in re.findall(r"\d+", part)]
        is_range = len(ends) == 2 and 0 <= ends[1] - ends[0] < _MAX_RANGE
        found += range(ends[0], ends[1] + 1) if is_range else ends
    return found


def statements(text: str) -> tuple[int, int]:
    """How many statements a text makes outside code, and how many of them carry a citation."""
    total = cited = 0
    for found in _SENTENCE.finditer(_FENCED.sub("", text)):
        sentence = found[0].strip()
        words = _CITED.sub("", sentence).split()
        if len(words) >= _MIN_WORDS and not sentence.endswith(":"):
            total += 1
            cited += _CITED.search(sentence) is not None
    return total, cited
