"""Markdown sections: from one heading to the next of the same or a higher level, named by the path of headings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeintel_core.chunking.outline import Definition, last_line

if TYPE_CHECKING:
    import tree_sitter

SEPARATOR = " > "
_MAX_HEADING = 200
_SETEXT = {"setext_h1_underline": 1, "setext_h2_underline": 2}


def sections(root: tree_sitter.Node, data: bytes) -> list[Definition]:
    """Sections of a document in order, nested by level. (The grammar itself opens no section for underlined headings.)"""
    found: list[Definition] = []
    path: list[tuple[int, Definition]] = []
    end_line = last_line(root)
    for level, node in _headings(root):
        line = node.start_point[0]
        while path and path[-1][0] >= level:
            path.pop()[1].last_line = line - 1
        parent = path[-1][1] if path else None
        raw = data[node.start_byte : node.end_byte].split(b"\n", 1)[0].decode("utf-8", "replace")
        heading = raw.strip(" \t\r#")[:_MAX_HEADING]
        symbol = f"{parent.symbol}{SEPARATOR}{heading}" if parent else heading
        section = Definition("section", heading, symbol, raw.strip()[:_MAX_HEADING], "", line, end_line, line, parent)
        found.append(section)
        if parent is not None:
            parent.children.append(section)
        path.append((level, section))
    return found


def _headings(root: tree_sitter.Node) -> list[tuple[int, tree_sitter.Node]]:
    """(level, node) of the headings of the document itself: those in quotes and lists open no section."""
    found: list[tuple[int, tree_sitter.Node]] = []
    pending = [root]
    while pending:
        node = pending.pop()
        for child in node.named_children:
            if child.type == "section":
                pending.append(child)
            elif child.type in ("atx_heading", "setext_heading"):
                marks = [part.type for part in child.children]
                level = next((_SETEXT[mark] for mark in marks if mark in _SETEXT), 0)
                level = level or next((int(mark[5]) for mark in marks if mark.startswith("atx_h")), 1)
                found.append((level, child))
    return sorted(found, key=lambda item: item[1].start_byte)
