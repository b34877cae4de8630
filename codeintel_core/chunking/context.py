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
    "import from as use using require require_relative include static const let var type package pub crate source "
    "extern namespace function".split()
)


def text(node: tree_sitter.Node, data: bytes) -> str:
    """Text of a node on one line, capped."""
    return " ".join(decoded(data[node.start_byte : node.end_byte]).split())[:_MAX_SIGNATURE]


def decoded(raw: bytes) -> str:
    """UTF-8, else latin-1: the pieces of a latin-1 file need not know about their file."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


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
    text = " ".join(decoded(data[start:end]).split())
    return text.rstrip(" {:=>;,")[:_MAX_SIGNATURE]


def docstring(node: tree_sitter.Node, language: Language, data: bytes) -> str:
    """Python: the string that opens the body."""
    if language.name != "python" or (body := node.child_by_field_name("body")) is None:
        return ""
    first: tree_sitter.Node | None = body.named_child(0)
    while first is not None and first.type in ("expression_statement", "comment"):
        first = first.named_child(0) if first.type == "expression_statement" else first.next_named_sibling
    if first is None or first.type != "string":
        return ""
    raw = decoded(data[first.start_byte : first.end_byte])
    quoted = _DOCSTRING_QUOTES.match(raw)
    text = quoted["text"] if quoted else raw
    return "\n".join(line.strip() for line in text.strip().splitlines())[:_MAX_DOCSTRING]


def clean_comment(text: str) -> str:
    """A comment without its marks, one stripped line per line."""
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
                text = decoded(data[start : node.end_byte]) if key == "comment" else ""
                leads[last_line(node)] = (node.start_point[0], text)
    return leads


def imports(captures: Captures, data: bytes) -> str:
    """Names and paths in the import statements of a file: distinct, in order, space separated, capped."""
    names: dict[str, None] = {}
    for node in sorted(captures.get("import", ()), key=lambda node: node.start_byte):
        for word in _IMPORT_NAME.findall(text(node, data)):
            if word not in _IMPORT_WORDS:
                names[word] = None
    joined = " ".join(names)
    return joined if len(joined) <= _MAX_IMPORTS else joined[:_MAX_IMPORTS].rsplit(" ", 1)[0]
