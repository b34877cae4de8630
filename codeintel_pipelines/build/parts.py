"""Tables in parts: `chunks.parquet/` is a folder of files, and a row's file follows from a hash of its path.

A changed file rewrites its part and no other; the parts it does not touch are hard-linked from the parent. Together the
parts are the whole table, so nothing has to be merged or left out by who reads them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

_CHUNKS_PER_PART = 128
_MOST_PARTS = 1_024
_TOLERANCE = 4  # a table keeps its parts while they are not four times too many or too few


def count_for(chunks: int, before: int = 0) -> int:
    """Number of parts (a power of two) of the tables of a generation; `before` when that is still about right."""
    wanted = 1
    while wanted < _MOST_PARTS and wanted * _CHUNKS_PER_PART < chunks:
        wanted *= 2
    return before if before and wanted <= _TOLERANCE * before and before <= _TOLERANCE * wanted else wanted


def part_of(path: str, count: int) -> int:
    """Part that holds the rows of a file."""
    return zlib.crc32(path.encode("utf-8", "surrogatepass")) % count


def numbers(paths: pa.ChunkedArray, count: int) -> NDArray[np.int16]:
    """Part of each row, (n,) int16; `paths` names its file."""
    found = [np.empty(0, np.int16)]
    for chunk in paths.chunks:
        known = chunk.dictionary_encode()  # rows of one file lie together: few paths, each hashed once
        of_path = np.array([part_of(path, count) for path in known.dictionary.to_pylist()], np.int16)
        found.append(of_path[known.indices.to_numpy()] if len(chunk) else of_path)
    return np.concatenate(found)


def names(count: int) -> list[str]:
    """File names of all parts."""
    return [f"part-{number:04d}.parquet" for number in range(count)]


def files(table: Path) -> list[Path]:
    """Files of a table in parts, in their order."""
    return sorted(table.glob("part-*.parquet"))


def size_bytes(table: Path) -> int:
    """Size of all parts."""
    return sum(path.stat().st_size for path in files(table))


def replaced(mine: Path, theirs: Path) -> tuple[list[Path], list[Path]]:
    """The files of a table that are not the parent's, and the files of the parent that are not used any more."""
    now, before = files(mine), files(theirs)
    if len(now) != len(before):
        return now, before
    pairs = [(a, b) for a, b in zip(now, before, strict=True) if not a.samefile(b)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def link(theirs: Path, mine: Path, kept: Iterable[str]) -> None:
    """Hard-link parts of the parent's table."""
    for name in kept:
        os.link(theirs / name, mine / name)


def read(paths: Sequence[Path], columns: list[str] | None, empty: pa.Schema) -> pa.Table:
    """Rows of some parts; without any, a table of the schema `empty`."""
    if not paths:
        nothing = empty.empty_table()
        return nothing.select(columns) if columns else nothing
    return pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])
