"""Selection: from scored chunks to hits — so many per file at most, and one of several that say the same."""

from __future__ import annotations

from collections.abc import Iterable

from codeintel_core.catalog import ChunkRow

_MIN_DUPLICATE_CHARS = 80  # shorter ones (a getter, an empty constructor) repeat without being copies


def select(
    chunks: Iterable[ChunkRow], *, limit: int, per_file: int, collapse: bool = True
) -> tuple[list[ChunkRow], int, int]:
    """The chunks to show out of these, best first, and how many were left out as copies and by the cap per file.

    What comes after the last one that is shown is not looked at.
    """
    shown: list[ChunkRow] = []
    taken: dict[tuple[str, str], int] = {}
    texts: set[str] = set()
    copies = capped = 0
    for chunk in chunks:
        key = (chunk.repo, chunk.path)
        text = "".join(chunk.text.split()) if collapse else ""
        if len(text) >= _MIN_DUPLICATE_CHARS and text in texts:
            copies += 1
        elif taken.get(key, 0) >= per_file:
            capped += 1
        else:
            taken[key] = taken.get(key, 0) + 1
            texts.add(text)
            shown.append(chunk)
            if len(shown) == limit:
                break
    return shown, copies, capped
