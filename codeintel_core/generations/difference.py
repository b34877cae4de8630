"""What changed between two generations, chunk by chunk."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

_COLUMNS = ["chunk_id", "path", "start_line", "end_line", "symbol", "text"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk is."""

    path: str
    start_line: int
    end_line: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Chunks of `old` and `new`.

    Attributes:
        added, removed: text that only one of the two has.
        moved: the same text at another path or other lines, as (before, after).
        unchanged: how many are where they were.
    """

    old: str
    new: str
    added: list[Place]
    removed: list[Place]
    moved: list[tuple[Place, Place]]
    unchanged: int


def difference(old: Path, new: Path) -> Difference:
    """Compare the chunks of two generation folders.

    A chunk keeps its id while it stays in its file, so the rest is matched by text: equal texts pair off in order of
    path and line, and what is left over was added or removed.
    """
    before, after = _read(old), _read(new)
    shared = before.keys() & after.keys()
    unchanged = sum(before[chunk_id][0] == after[chunk_id][0] for chunk_id in shared)
    moved = [(before[i][0], after[i][0]) for i in shared if before[i][0] != after[i][0]]
    waiting: defaultdict[str, list[Place]] = defaultdict(list)
    for place, text in _sorted(after[i] for i in after.keys() - shared):
        waiting[text].append(place)
    taken: Counter[str] = Counter()
    removed: list[Place] = []
    for place, text in _sorted(before[i] for i in before.keys() - shared):
        if taken[text] < len(waiting[text]):
            moved.append((place, waiting[text][taken[text]]))
            taken[text] += 1
        else:
            removed.append(place)
    added = [place for text, places in waiting.items() for place in places[taken[text] :]]
    return Difference(old.name, new.name, _in_order(added), removed, sorted(moved, key=_key_of_move), unchanged)


_Row = tuple[Place, str]


def _read(folder: Path) -> dict[int, _Row]:
    table = pq.read_table(folder / "chunks.parquet", columns=_COLUMNS)
    rows = zip(*(table[column].to_pylist() for column in _COLUMNS), strict=True)
    return {row[0]: (Place(*row[1:5]), row[5]) for row in rows}


def _key(place: Place) -> tuple[str, int, int]:
    return place.path, place.start_line, place.end_line


def _key_of_move(move: tuple[Place, Place]) -> tuple[str, int, int]:
    return _key(move[0])


def _sorted(rows: Iterable[_Row]) -> list[_Row]:
    return sorted(rows, key=lambda row: _key(row[0]))


def _in_order(places: list[Place]) -> list[Place]:
    return sorted(places, key=_key)
