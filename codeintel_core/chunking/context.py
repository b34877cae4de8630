"""The words around a definition: signature, docstring or leading comment, and the imports of its file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from codeintel_core.chunking.outline import last_line

if TYPE_CHECKING:
    import tree_sitter

    from codeintel_core.chunking.languages import Language

Captures = dict[str, list["tree_sitter.Node"]]
_MAX_SIGNATURE, _MAX_DOCSTRING, _MAX_IMPORTS = 300, 2000, 400
_COMMENT_MARKS = re.compile(r"^\s*(?:/\*+!?|//+!?|#+!?|--+|\*+/|\*(?!\*)|;+)\s?|\s*\*+/\s*$", re.MULTILINE)
_DOCSTRING_QUOTES = re.compile(r"""^[rRuUbBfF]*(?P<quotes>\"{3}|'{3}|["'])(?P<text>.*)(?P=quotes)$""", re.DOTALL)
_IMPORT_NAME = re.compile(r"[\w@][\w./@:\\*-]*")
_IMPORT_WORDS = frozenset(
    "import from as use using require require_relative include static const let var type package pub crate source".split()
)


def text(node: tree_sitter.Node, data: bytes) -> str:
    return " ".join(data[node.start_byte : node.end_byte].decode("utf-8", "replace").split())[:_MAX_SIGNATURE]


def signature(node: tree_sitter.Node, data: bytes) -> str:
    """Text up to the body, on one line; for a definition without a body, its first line."""
    start, end = node.start_byte, node.end_byte
    line_start = data.rfind(b"\n", 0, start) + 1
    if start - line_start < _MAX_SIGNATURE:
        start = line_start  # keeps `export`, `public`, `const`, which some grammars put outside the node
    holder = node.child_by_field_name("value") or node.child_by_field_name("right") or node
    body = holder.child_by_field_name("body")
    if body is not None and body.start_byte > start:
        end = body.start_byte
    else:
        newline = data.find(b"\n", node.start_byte, end)
        end = end if newline < 0 else newline
    text = " ".join(data[start : min(end, start + 4 * _MAX_SIGNATURE)].decode("utf-8", "replace").split())
    return text.rstrip(" {:=>;,")[:_MAX_SIGNATURE]


def docstring(node: tree_sitter.Node, language: Language, data: bytes) -> str:
    """Python: the string that opens the body."""
    if language.name != "python" or (body := node.child_by_field_name("body")) is None:
        return ""
    first = body.named_child(0)
    while first is not None and first.type in ("expression_statement", "comment"):
        first = first.named_child(0) if first.type == "expression_statement" else first.next_named_sibling
    if first is None or first.type != "string":
        return ""
    raw = data[first.start_byte : min(first.end_byte, first.start_byte + 2 * _MAX_DOCSTRING)].decode("utf-8", "replace")
    quoted = _DOCSTRING_QUOTES.match(raw)
    text = quoted["text"] if quoted else raw
    return "\n".join(line.strip() for line in text.strip().splitlines())[:_MAX_DOCSTRING]


def clean_comment(text: str) -> str:
    if not text:
        return ""
    lines = (line.strip() for line in _COMMENT_MARKS.sub("", text).splitlines())
    return "\n".join(line for line in lines if line)[:_MAX_DOCSTRING]


def leads(captures: Captures, data: bytes) -> dict[int, tuple[int, str]]:
    """Comments, decorators and attributes alone on their lines: last line → (first line, comment text)."""
    leads: dict[int, tuple[int, str]] = {}
    for key in ("lead", "comment"):
        for node in captures.get(key, ()):
            start = node.start_byte
            line_start = data.rfind(b"\n", 0, start) + 1
            if not data[line_start:start].strip() and not data.startswith(b"#!", start):
                text = data[start : node.end_byte].decode("utf-8", "replace") if key == "comment" else ""
                leads[last_line(node)] = (node.start_point[0], text)
    return leads


def imports(captures: Captures, data: bytes) -> str:
    names: dict[str, None] = {}
    for node in captures.get("import", ()):
        for word in _IMPORT_NAME.findall(text(node, data)):
            if word not in _IMPORT_WORDS:
                names[word] = None
    joined = " ".join(names)
    return joined if len(joined) <= _MAX_IMPORTS else joined[:_MAX_IMPORTS].rsplit(" ", 1)[0]
