"""Where a file is cut: definitions become pieces, pieces too big are split, small neighbours merge.

1. `_place`: definitions that fit stay whole; bigger containers are replaced by their members and what is between.
2. `_attach_closers`: a line of mere brackets belongs to what it closes.
3. `_split`: pieces above the limit are cut before the line where the outermost statement starts.
4. `_merge`: small pieces that are no definitions merge up to a target, tiny definitions with tiny neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from codeintel_core.chunking.lines import Lines
from codeintel_core.chunking.outline import CONTAINERS, VALUES, Definition, Outline

if TYPE_CHECKING:
    import tree_sitter

_TINY_TOKENS = 24
_NO_STATEMENT = 1_000
_INDENT_WIDTH = 4
_INDENT = re.compile(rb"[ \t]*")
_WORD = re.compile(rb"[A-Za-z0-9_\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A range of whole lines that becomes one chunk."""

    first: int
    last: int
    owner: Definition | None
    """The definition that the piece is, is a part of, or (merged pieces) lies in."""
    is_whole: bool
    """The piece began as a whole definition, not as what lies between definitions."""
    is_merged: bool = False


def pieces_of(lines: Lines, outline: Outline | None, max_tokens: int) -> list[Piece]:
    """Pieces in file order: disjoint, together covering every non-blank line, none blank at its ends."""
    roots = [d for d in outline.definitions if d.parent is None] if outline else []
    placed = _attach_closers(_place(lines, roots, max_tokens), lines)
    split = [part for piece in placed for part in _split(piece, lines, outline, max_tokens)]
    return _merge(split, lines, max_tokens) if outline else split


def _place(lines: Lines, roots: list[Definition], max_tokens: int) -> list[Piece]:
    pieces: list[Piece] = []

    def add(first: int, last: int, owner: Definition | None, is_whole: bool) -> None:
        trimmed = lines.trimmed(first, min(last, lines.count - 1))
        if trimmed is not None:
            pieces.append(Piece(*trimmed, owner, is_whole))

    pending: list[tuple[int, int, Definition | None, list[Definition]]] = [(0, lines.count - 1, None, roots)]
    while pending:
        cursor, last, owner, members = pending.pop()
        for member in members:
            if member.kind in VALUES and member.kind != "key":
                continue
            first, end = max(member.first_line, cursor), min(member.last_line, last)
            if end < first:
                continue  # shares its lines with the definition before it
            add(cursor, first - 1, owner, False)
            if member.kind in CONTAINERS and member.children and lines.tokens(first, end) > max_tokens:
                pending.append((first, end, member, member.children))
            else:
                add(first, end, member, True)
            cursor = end + 1
        add(cursor, last, owner, False)
    return sorted(pieces, key=lambda piece: piece.first)


def _attach_closers(pieces: list[Piece], lines: Lines) -> list[Piece]:
    attached: list[Piece] = []
    for piece in pieces:
        if attached and not piece.is_whole and not _WORD.search(lines.bytes_of(piece.first, piece.last)):
            attached[-1] = replace(attached[-1], last=piece.last)
        else:
            attached.append(piece)
    return attached


def _split(piece: Piece, lines: Lines, outline: Outline | None, max_tokens: int) -> list[Piece]:
    if lines.tokens(piece.first, piece.last) <= max_tokens:
        return [piece]
    levels = _levels(piece, lines, outline)
    parts: list[Piece] = []
    first = piece.first
    while first <= piece.last:
        end = min(lines.reach(first, max_tokens), piece.last)
        if end < piece.last:
            # The outermost statement start in the second half of what fits; the last one of these.
            middle = min(lines.reach(first, max_tokens // 2) + 1, end + 1)
            cut = min(range(end + 1, middle - 1, -1), key=lambda line: levels[line - piece.first])
            end = max(cut - 1, first)
        trimmed = lines.trimmed(first, end)
        if trimmed is not None:
            parts.append(replace(piece, first=trimmed[0], last=trimmed[1]))
        first = end + 1
    return parts


def _levels(piece: Piece, lines: Lines, outline: Outline | None) -> list[int]:
    """How deep in the code each line starts, twice counted: the lower, the better to cut before it."""
    if outline is not None and outline.tree is not None:
        levels = _levels_of_tree(piece, lines, outline.tree)
    else:
        levels = [_level_of_indent(lines.bytes_of(line, line)) for line in range(piece.first, piece.last + 1)]
    for index in range(1, len(levels)):
        if lines.is_blank[piece.first + index - 1]:
            levels[index] -= 3  # a blank line outweighs one level of nesting
    return levels


def _level_of_indent(line: bytes) -> int:
    indent = _INDENT.match(line)
    assert indent is not None
    if not _WORD.search(line[: _INDENT_WIDTH * 16]):
        return 2 * _NO_STATEMENT  # a closing bracket, or a rule of a table
    return 2 * (len(indent[0].expandtabs(_INDENT_WIDTH)) // _INDENT_WIDTH)


def _levels_of_tree(piece: Piece, lines: Lines, tree: tree_sitter.Tree) -> list[int]:
    levels = [2 * _NO_STATEMENT] * (piece.last - piece.first + 1)
    starts = lines.starts
    start, end = starts[piece.first], starts[piece.last + 1]
    root = tree.root_node.descendant_for_byte_range(start, max(start, end - 1)) or tree.root_node
    cursor = root.walk()
    row, level = piece.first, 0
    while True:
        node = cursor.node
        assert node is not None
        at = node.start_byte
        if at >= end:
            return levels  # nodes come in the order of the file
        node_end = node.end_byte
        if at >= start:
            while starts[row + 1] <= at:
                row += 1
            if level < levels[row - piece.first] and node.is_named:
                levels[row - piece.first] = level
        # A node of one line, or before the piece, has nothing to say about other lines.
        if node_end > start and (at < start or node_end > starts[row + 1]) and cursor.goto_first_child():
            level += 2
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return levels
            level -= 2


def _merge(pieces: list[Piece], lines: Lines, max_tokens: int) -> list[Piece]:
    target = max_tokens * 2 // 3
    merged: list[Piece] = []
    tiny: list[bool] = []  # every piece merged so far was tiny
    for piece in pieces:
        is_tiny = lines.tokens(piece.first, piece.last) < _TINY_TOKENS
        if merged:
            before = merged[-1]
            total = lines.tokens(before.first, piece.last)
            mergeable = (_is_loose(before) and _is_loose(piece)) or (is_tiny and tiny[-1])
            if tiny[-1] and total <= max_tokens and _is_heading_of(before, piece):
                merged[-1], tiny[-1] = replace(piece, first=before.first), is_tiny
                continue
            if mergeable and total <= target and _scope(before) is _scope(piece):
                merged[-1], tiny[-1] = _joined(before, piece), tiny[-1] and is_tiny
                continue
        merged.append(piece)
        tiny.append(is_tiny)
    return merged


def _is_heading_of(before: Piece, piece: Piece) -> bool:
    """A heading with no text of its own says more in front of its first section."""
    owner = before.owner
    return owner is not None and owner.kind == "section" and not before.is_whole and _scope(piece) is owner


def _is_loose(piece: Piece) -> bool:
    return not piece.is_whole or (piece.owner is not None and piece.owner.kind == "key")


def _scope(piece: Piece) -> Definition | None:
    """The definition that a piece lies in."""
    if piece.owner is None or not piece.is_whole or piece.is_merged:
        return piece.owner
    return piece.owner.parent


def _joined(before: Piece, piece: Piece) -> Piece:
    if before.owner is piece.owner and before.is_whole == piece.is_whole:
        return replace(before, last=piece.last)
    return Piece(before.first, piece.last, _scope(before), is_whole=False, is_merged=True)
