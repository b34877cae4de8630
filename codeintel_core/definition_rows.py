"""Definitions sorted by a hash of their name in a mapped Arrow file: a query that asks for a name looks it up here,
since planning the same look-up in DuckDB takes longer than the rest of the query's search. Chunks lie beside it alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from codeintel_core import mapped_rows
from codeintel_core.identity import name_key
from codeintel_core.mapped_rows import MappedRows

FILE_NAME, OVERLAY_NAME = "catalog_definitions.arrow", "catalog_overlay_definitions.arrow"


class DefinitionRow(NamedTuple):
    """A definition and the chunk that holds its first line, `NO_CHUNK` where none does."""

    chunk_id: int
    name: str
    symbol: str
    path: str


class DefinitionPlace(NamedTuple):
    """A definition and where it is."""

    path: str
    language: str
    name: str
    symbol: str
    kind: str
    start_line: int
    end_line: int


NO_CHUNK = -1
_KEY = "name_key"
_Row = TypeVar("_Row", DefinitionRow, DefinitionPlace)


def write(path: Path, symbols: pa.Table) -> None:
    """Write the rows of a symbols table, all of them definitions."""
    at = symbols.schema.get_field_index("chunk_id")
    rows = symbols.set_column(at, "chunk_id", symbols["chunk_id"].fill_null(NO_CHUNK))
    rows = rows.select(["chunk_id", *DefinitionPlace._fields])
    keys = pa.array(map(name_key, rows["name"].to_pylist()), pa.int64())
    mapped_rows.write(path, rows.append_column(_KEY, keys), _KEY)


class DefinitionRows:
    """The definitions of a generation, those of hidden files left out."""

    def __init__(self, folder: Path, hidden: Collection[str]) -> None:
        """`hidden`: paths whose rows under the overlay are not to be seen; raises `GenerationCorrupt`."""
        self._hidden = frozenset(hidden)
        self._base = MappedRows(folder / FILE_NAME, _KEY)
        overlay = folder / OVERLAY_NAME
        self._overlay = MappedRows(overlay, _KEY) if overlay.exists() else None

    @property
    def have_places(self) -> bool:
        """Whether all know where they are: files that were written by an older version do not."""
        files = filter(None, (self._base, self._overlay))
        return all(rows.has(DefinitionPlace._fields) for rows in files)

    def of(self, names: Iterable[str]) -> list[DefinitionRow]:
        """Definitions that bear one of the names exactly and lie in a chunk, in no order."""
        return [row for row in self._found(frozenset(names), DefinitionRow) if row.chunk_id != NO_CHUNK]

    def places(self, name: str) -> list[DefinitionPlace]:
        """Definitions that bear the name exactly, in no order."""
        return self._found(frozenset([name]), DefinitionPlace)

    def _found(self, names: Collection[str], kind: type[_Row]) -> list[_Row]:
        found = [row for row in _rows(self._base, names, kind) if row.path not in self._hidden]
        if self._overlay is not None:
            found += _rows(self._overlay, names, kind)
        return found


def _rows(rows: MappedRows, names: Collection[str], kind: type[_Row]) -> Iterator[_Row]:
    keys = np.fromiter({name_key(name) for name in names}, np.int64)
    found = map(kind._make, zip(*rows.take(keys, kind._fields), strict=True))
    return (row for row in found if row.name in names)  # keys may collide
