"""Chunks sorted by id in an Arrow file that is mapped into memory: gathering rows by position costs a fraction of a
join, and every query does it. Like the catalog beside it, a file that is never changed lies under a small overlay.

Of most candidates of a query only their place is asked, for their rank; the rest of a row is read for what is shown.
Places are kept, since they never change and the same chunks are candidates again and again.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from codeintel_core import mapped_rows
from codeintel_core.mapped_rows import MappedRows
from codeintel_core.scope import Scope

FILE_NAME, OVERLAY_NAME = "catalog.arrow", "catalog_overlay.arrow"


class ChunkRow(NamedTuple):
    """A hydrated chunk: where it is and what it says."""

    chunk_id: int
    repo: str
    path: str
    blob: str
    language: str
    file_class: str
    encoding: str
    kind: str
    symbol: str
    name: str
    signature: str
    docstring: str
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    text: str


class ChunkPlace(NamedTuple):
    """What ranking asks of a chunk: where it is and what it defines. A tuple, since every query makes hundreds."""

    chunk_id: int
    repo: str
    path: str
    file_class: str
    symbol: str
    name: str


COLUMNS = ChunkRow._fields
_SCOPED = ("chunk_id", "path", "language", "file_class")
_MOST_PLACES = 16_384  # of one generation: 8 MB
_Row = TypeVar("_Row", ChunkRow, ChunkPlace)


def write(path: Path, chunks: pa.Table) -> None:
    """Write the columns of `ChunkRow`, sorted by chunk_id."""
    rows = chunks.select(list(COLUMNS))
    rows = rows.set_column(rows.column_names.index("text"), "text", rows["text"].cast(pa.large_string()))
    mapped_rows.write(path, rows, "chunk_id")


class ChunkRows:
    """The rows of a generation: those of the overlay, then those of `catalog.arrow` whose files are not hidden."""

    def __init__(self, folder: Path, hidden: Collection[str]) -> None:
        """`hidden`: paths whose rows in `catalog.arrow` are not to be seen; raises `GenerationCorrupt`."""
        self._hidden = frozenset(hidden)
        self._base = MappedRows(folder / FILE_NAME, "chunk_id")
        overlay = folder / OVERLAY_NAME
        self._overlay = MappedRows(overlay, "chunk_id") if overlay.exists() else None
        self._places: dict[int, ChunkPlace] = {}

    def take(self, chunk_ids: NDArray[np.int64]) -> dict[int, ChunkRow]:
        """Rows by id; `chunk_ids` are distinct, unknown ones are left out."""
        return self._take(chunk_ids, ChunkRow)

    def places(self, chunk_ids: Collection[int]) -> dict[int, ChunkPlace]:
        """`take`, of each row its place."""
        known = self._places
        found = {chunk_id: place for chunk_id in chunk_ids if (place := known.get(chunk_id)) is not None}
        if len(found) < len(chunk_ids):
            unread = np.array(sorted({*chunk_ids} - found.keys()), np.int64)
            read = self._take(unread, ChunkPlace)
            if len(known) + len(read) > _MOST_PLACES:
                known.clear()
            known.update(read)
            found.update(read)
        return found

    def inside(self, scope: Scope, chunk_ids: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Ids of all chunks inside the scope, or of those among the distinct `chunk_ids`."""
        found = []
        for rows, hidden in ((self._base, self._hidden), (self._overlay, frozenset[str]())):
            if rows is not None:
                some = rows.columns(_SCOPED) if chunk_ids is None else rows.of(chunk_ids, _SCOPED)
                found.append(some["chunk_id"].filter(_mask(some, scope, hidden)).to_numpy())
        return np.concatenate(found)

    def _take(self, chunk_ids: NDArray[np.int64], kind: type[_Row]) -> dict[int, _Row]:
        found = _rows(self._base, chunk_ids, kind)
        if self._hidden:
            found = {chunk_id: row for chunk_id, row in found.items() if row.path not in self._hidden}
        if self._overlay is not None:
            found.update(_rows(self._overlay, chunk_ids, kind))
        return found


def _rows(rows: MappedRows, chunk_ids: NDArray[np.int64], kind: type[_Row]) -> dict[int, _Row]:
    columns = rows.take(chunk_ids, kind._fields)
    # What `kind._make` does, without a Python call for each row; the columns are those of `kind`.
    made = map(partial(tuple.__new__, kind), zip(*columns, strict=True))
    return dict(zip(columns[0], made, strict=True))


def _mask(rows: pa.RecordBatch, scope: Scope, hidden: Collection[str]) -> pa.BooleanArray:
    """Which rows the scope lets through: the meaning of `database.Query.inside`."""
    kept = pa.array(np.ones(len(rows), np.bool_))
    if scope.paths:
        kept = pc.and_(kept, pc.match_substring_regex(rows["path"], f"^(?:{scope.path_regex()})$"))
    if scope.languages:
        kept = pc.and_(kept, pc.is_in(rows["language"], pa.array(scope.languages)))
    if scope.excluded_classes:
        kept = pc.and_not(kept, pc.is_in(rows["file_class"], pa.array(scope.excluded_classes)))
    if hidden:
        kept = pc.and_not(kept, pc.is_in(rows["path"], pa.array(sorted(hidden))))
    return kept
