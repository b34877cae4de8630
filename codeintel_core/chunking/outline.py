"""What a parse says about a file: its definitions, nested, with imports and uses of names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tree_sitter

CLASSES = frozenset({"class", "interface", "struct", "enum", "trait", "impl"})
CONTAINERS = CLASSES | {"module", "section"}
"""Kinds that are cut into their members when they are too big for one chunk."""
VALUES = frozenset({"constant", "variable", "field", "key"})
"""Kinds that are symbols, but no chunks of their own."""


@dataclass(slots=True)
class Definition:
    """A named definition. Lines count from 0, both ends inclusive, leading comments and decorators included."""

    kind: str
    name: str
    symbol: str
    signature: str
    docstring: str
    first_line: int
    last_line: int
    own_line: int
    """First line without what leads it."""
    parent: Definition | None
    children: list[Definition] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outline:
    """What a parse says about a file."""

    tree: tree_sitter.Tree | None
    """None when the outline was read without a grammar."""
    definitions: list[Definition]
    imports: str
    references: tuple[list[str], list[int]]
    """Uses of names (`references.py`): the names and their lines from 0, in file order."""


def last_line(node: tree_sitter.Node) -> int:
    """Last line (from 0) that holds something of the node: some grammars end a node at column 0 of the next line."""
    row, column = node.end_point
    return row - 1 if column == 0 and row > node.start_point[0] else row
