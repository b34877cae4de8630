"""From a source file to its outline: definitions with their context, imports and uses of names, from one parse.

The tree is only read through compiled queries and cursors, never by recursion, so deep nesting costs no stack; a parse
that takes too long or is mostly errors gives no outline, and the caller cuts the file by lines.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from codeintel_core.chunking.context import Captures, clean_comment, docstring, imports, leads, signature, text
from codeintel_core.chunking.languages import Language, grammar_of
from codeintel_core.chunking.outline import CLASSES, VALUES, Definition, Outline, last_line
from codeintel_core.chunking.references import references
from codeintel_core.chunking.sections import markdown_sections, yaml_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import tree_sitter

_LOCAL_SCOPES = frozenset({"function", "method"})
_WITHOUT_GRAMMAR = {"markdown": markdown_sections, "yaml": yaml_keys}
_PARSE_BUDGET_S = 5.0
_MAX_ERROR_SHARE = 0.3
_MAX_ERROR_NODES = 20_000  # queries take quadratic time over one huge error node
_SCOPE_PREFIX = re.compile(r"[*&(\s]+|\[.*|<.*", re.DOTALL)


def outline_of(language: Language, data: bytes) -> Outline | None:
    """Outline of a file, or None when the language has no grammar, the parse ran out of time or is mostly errors."""
    if language.name in _WITHOUT_GRAMMAR:
        return Outline(None, _WITHOUT_GRAMMAR[language.name](data), "", ([], []))
    if not language.grammar:
        return None
    import tree_sitter

    grammar = grammar_of(language.grammar)
    tree = _parse(tree_sitter.Parser(grammar.language), data)
    if tree is None or _is_mostly_errors(tree, len(data)):
        return None
    captures = tree_sitter.QueryCursor(grammar.query).captures(tree.root_node)
    found = _found(captures, grammar.kinds)
    definitions = _nest(found, leads(captures, data), language, data)
    named = {match.name.start_byte for match in found}
    return Outline(tree, definitions, imports(captures, data), references(captures.get("ref", ()), named, data))


def _parse(parser: tree_sitter.Parser, data: bytes) -> tree_sitter.Tree | None:
    deadline = time.monotonic() + _PARSE_BUDGET_S
    try:
        return parser.parse(
            lambda offset, _: data[offset : offset + 65_536],
            progress_callback=lambda _, __: time.monotonic() > deadline,  # True cancels
        )
    except ValueError:  # cancelled
        return None


def _is_mostly_errors(tree: tree_sitter.Tree, size: int) -> bool:
    pending = [tree.root_node]
    error_bytes = 0
    while pending:
        node = pending.pop()
        if node.is_error:
            error_bytes += node.end_byte - node.start_byte
            if error_bytes > _MAX_ERROR_SHARE * size or node.descendant_count > _MAX_ERROR_NODES:
                return True
        elif node.has_error:
            pending.extend(node.children)
    return False


@dataclass(slots=True)
class _Found:
    kind: str
    node: tree_sitter.Node
    name: tree_sitter.Node
    scope: tree_sitter.Node | None


def _found(captures: Captures, kinds: Sequence[str]) -> list[_Found]:
    """One definition per name: the widest node wins, then the first pattern (the tables list the specific first)."""
    best: dict[int, tuple[int, int, _Found]] = {}
    for pattern, kind in enumerate(kinds):
        names = captures.get(f"name.{pattern}")
        if names is None:
            continue
        nodes = captures[f"{kind}.{pattern}"]
        scopes = captures.get(f"scope.{pattern}", [])
        scope_of: dict[int, tree_sitter.Node] = {}
        for scope, node in _innermost(scopes, nodes):
            scope_of.setdefault(node.start_byte, scope)
        for name, node in _innermost(names, nodes):
            start = node.start_byte
            rank = (start - node.end_byte, pattern)
            at = name.start_byte
            if at not in best or rank < best[at][:2]:
                best[at] = (*rank, _Found(kind, node, name, scope_of.get(start)))
    return sorted((item[2] for item in best.values()), key=lambda f: (f.node.start_byte, -f.node.end_byte))


def _innermost(
    inner: Sequence[tree_sitter.Node], nodes: Sequence[tree_sitter.Node]
) -> Iterator[tuple[tree_sitter.Node, tree_sitter.Node]]:
    """Each of `inner` with the innermost of `nodes` around it: in a pattern, the node that it was captured with."""
    ranges = sorted(((node.start_byte, -node.end_byte, node) for node in nodes), key=itemgetter(0, 1))
    around: list[tuple[int, tree_sitter.Node]] = []
    position = 0
    for start, end, one in sorted(((n.start_byte, n.end_byte, n) for n in inner), key=itemgetter(0)):
        while position < len(ranges) and ranges[position][0] <= start:
            around.append((-ranges[position][1], ranges[position][2]))
            position += 1
        while around[-1][0] <= start:
            around.pop()
        yield one, next(node for node_end, node in reversed(around) if node_end >= end)


def _nest(
    found: list[_Found], leading: dict[int, tuple[int, str]], language: Language, data: bytes
) -> list[Definition]:
    """Definitions in file order, linked to their parents."""
    definitions: list[Definition] = []
    open_ends: list[tuple[int, Definition]] = []
    for match in found:
        node = match.node
        while open_ends and open_ends[-1][0] <= node.start_byte:
            open_ends.pop()
        parent = open_ends[-1][1] if open_ends else None
        if match.kind in VALUES and parent is not None and parent.kind in _LOCAL_SCOPES:
            continue  # a local variable
        name, scope = _name(match, data), parent.symbol if parent else ""
        if match.scope is not None:
            scope = _SCOPE_PREFIX.sub("", text(match.scope, data))
        kind = _kind(match.kind, name, parent)
        own_line, doc = node.start_point[0], []
        first_line = own_line
        while (lead := leading.get(first_line - 1)) is not None:
            first_line = lead[0]
            doc.append(lead[1])
        definition = Definition(
            kind,
            name.rsplit(".", 1)[-1],
            f"{scope}.{name}" if scope else name,
            signature(node, data),
            docstring(node, language, data) or clean_comment("\n".join(reversed(doc))),
            first_line,
            last_line(node),
            own_line,
            parent,
        )
        definitions.append(definition)
        if parent is not None:
            parent.children.append(definition)
        if kind != "type":  # `typedef struct node {…} node` names no scope
            open_ends.append((node.end_byte, definition))
    return definitions


def _kind(kind: str, name: str, parent: Definition | None) -> str:
    in_class = parent is not None and parent.kind in CLASSES
    if kind == "function" and (in_class or "." in name):
        return "method"
    return "field" if in_class and kind in ("constant", "variable") else kind


def _name(match: _Found, data: bytes) -> str:
    name = text(match.name, data)
    if match.kind == "key":
        return name.strip("\"'")
    if match.kind == "impl":
        name = name.split("<", 1)[0]
    return name.replace("::", ".").replace(".prototype.", ".")
