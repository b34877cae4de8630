"""The symbols of a file: every named definition, and every use of a name once per line."""

from __future__ import annotations

from collections.abc import Sequence

from codeintel_core.chunking.outline import Outline
from codeintel_core.chunking.rows import Chunk, FileRow, Symbols


def symbols_of(repo: str, file: FileRow, outline: Outline | None, chunks: Sequence[Chunk]) -> Symbols:
    """Definitions, then references, each with the chunk that holds its first line; none without an outline."""
    if outline is None:
        return Symbols(repo, file.path, file.blob, file.language)
    chunk_at: list[int | None] = [None] * file.lines
    for chunk in chunks:
        chunk_at[chunk.start_line - 1 : chunk.end_line] = [chunk.chunk_id] * (chunk.end_line - chunk.start_line + 1)
    around = [""] * file.lines  # the symbol of the innermost definition: the last that begins on the line or above
    for d in outline.definitions:
        around[d.own_line : d.last_line + 1] = [d.symbol] * (min(d.last_line + 1, file.lines) - d.own_line)
    named = [d for d in outline.definitions if d.name]
    names, lines = outline.references
    lines_from_1 = [line + 1 for line in lines]
    uses = len(names)
    return Symbols(
        repo=repo,
        path=file.path,
        blob=file.blob,
        language=file.language,
        name=[d.name for d in named] + names,
        symbol=[d.symbol for d in named] + [around[line] for line in lines],
        kind=[d.kind for d in named] + ["reference"] * uses,
        role=["definition"] * len(named) + ["reference"] * uses,
        start_line=[d.own_line + 1 for d in named] + lines_from_1,
        end_line=[d.last_line + 1 for d in named] + lines_from_1,
        chunk_id=[chunk_at[d.own_line] for d in named] + [chunk_at[line] for line in lines],
    )
