"""Outlines that need no grammar: Markdown sections and the top-level keys of YAML, read line by line.

Their grammars are the slowest of all, and the YAML one crashes the process on deep nesting (segmentation fault in its
scanner, 0.7.2), which no index build may risk for a file that somebody else wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from codeintel_core.chunking.context import decoded
from codeintel_core.chunking.outline import Definition

SEPARATOR = " > "
_MAX_HEADING = 200
_FENCE = re.compile(rb" {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(rb" {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t\r]*$")
_UNDERLINE = re.compile(rb" {0,3}(=+|-{2,})[ \t\r]*$")
_NO_PARAGRAPH = re.compile(rb"[ \t\r]*$|[ \t]*(?:[>|<]|(?:[-*+]|\d+[.)])(?:[ \t\r]|$))| {4}")
_KEY = re.compile(rb"""(?:- )?("[^"]*"|'[^']*'|[^\s#\-&*!|>%@'"{\[][^#\n]*?|-[^\s\-][^#\n]*?)\s*:(?:\s|$)""")


def markdown_sections(data: bytes) -> list[Definition]:
    """Sections in order: from one heading to the next of the same or a higher level, named by the path of headings."""
    lines = _split(data)
    found: list[Definition] = []
    path: list[tuple[int, Definition]] = []
    for line, level, heading in _headings(lines):
        while path and path[-1][0] >= level:
            path.pop()[1].last_line = line - 1
        parent = path[-1][1] if path else None
        title = " ".join(decoded(heading).split())[:_MAX_HEADING]
        symbol = f"{parent.symbol}{SEPARATOR}{title}" if parent else title
        section = Definition("section", title, symbol, title, "", line, len(lines) - 1, line, parent)
        found.append(section)
        if parent is not None:
            parent.children.append(section)
        path.append((level, section))
    return found


def yaml_keys(data: bytes) -> list[Definition]:
    """Top-level keys, each with the comment lines above it."""
    lines = _split(data)
    found: list[Definition] = []
    for line, raw in enumerate(lines):
        key = _KEY.match(raw)
        if key is None:
            continue
        first = line
        while first > 0 and lines[first - 1].startswith(b"#"):
            first -= 1
        if found:
            found[-1].last_line = first - 1
        name = decoded(key[1]).strip("\"'")[:_MAX_HEADING]
        doc = "\n".join(decoded(comment).strip("# \t\r") for comment in lines[first:line])
        found.append(
            Definition("key", name, name, decoded(raw).strip()[:_MAX_HEADING], doc, first, len(lines) - 1, line, None)
        )
    return found


def _split(data: bytes) -> list[bytes]:
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines


def _headings(lines: list[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(line, level, title) of each heading outside of code fences and front matter."""
    fence = b""
    start = _after_front_matter(lines)
    for index in range(start, len(lines)):
        line = lines[index]
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip(b"`~ \t\r"):
                fence = b""
        elif mark:
            fence = mark[1]
        elif heading := _HEADING.match(line):
            yield index, len(heading[1]), heading[2] or b""
        elif index > start and (rule := _UNDERLINE.match(line)) and _is_paragraph(lines[index - 1]):
            yield index - 1, 1 if rule[1].startswith(b"=") else 2, lines[index - 1]


def _is_paragraph(line: bytes) -> bool:
    return not _NO_PARAGRAPH.match(line) and not _HEADING.match(line)


def _after_front_matter(lines: list[bytes]) -> int:
    if lines[0].rstrip() == b"---":
        for index in range(1, min(len(lines), 200)):
            if lines[index].rstrip() == b"---":
                return index + 1
    return 0
