"""The symbols of a file: every named definition, and every use of a name once per line."""

from __future__ import annotations

from collections.abc import Sequence

from codeintel_core.chunking.outline import Definition, Outline
from codeintel_core.chunking.rows import Chunk, Symbol

MAX_REFERENCES_PER_FILE = 5_000
_MIN_NAME_CHARS = 3
_SELF = frozenset({"self", "this", "cls", "super"})


def symbols_of(
    repo: str, path: str, blob: str, language: str, outline: Outline, chunks: Sequence[Chunk]
) -> list[Symbol]:
    """Definitions, then references, each with the chunk that holds its first line."""
    chunk_at = {line: chunk.chunk_id for chunk in chunks for line in range(chunk.start_line, chunk.end_line + 1)}
    rows = [
        (d.name, d.symbol, d.kind, "definition", d.own_line + 1, d.last_line + 1) for d in outline.definitions if d.name
    ]
    kept = [(n, line) for n, line in outline.references if len(n) >= _MIN_NAME_CHARS and n not in _SELF]
    kept = kept[:MAX_REFERENCES_PER_FILE]
    enclosing = _enclosing(outline.definitions, [line for _, line in kept])
    rows += [
        (name, symbol, "reference", "reference", line + 1, line + 1)
        for (name, line), symbol in zip(kept, enclosing, strict=True)
    ]
    return [Symbol(repo, path, blob, language, *row, chunk_at.get(row[4])) for row in rows]


def _enclosing(definitions: Sequence[Definition], lines: Sequence[int]) -> list[str]:
    """Symbol of the innermost definition around each line (lines ascending); one sweep over both."""
    symbols: list[str] = []
    around: list[Definition] = []
    position = 0
    for line in lines:
        while position < len(definitions) and definitions[position].own_line <= line:
            around.append(definitions[position])
            position += 1
        while around and around[-1].last_line < line:
            around.pop()
        symbols.append(around[-1].symbol if around else "")
    return symbols
