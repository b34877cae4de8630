"""Definitions sorted by a hash of their name in a mapped Arrow file: a query that asks for a name looks it up here,
since planning the same look-up in DuckDB takes longer than the rest of the query's search. Chunks lie beside it alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from codeintel_core import mapped_rows
from codeintel_core.identity import name_key
from codeintel_core.mapped_rows import MappedRows

FILE_NAME, OVERLAY_NAME = "catalog_definitions.arrow", "catalog_overlay_definitions.arrow"


class DefinitionRow(NamedTuple):
    """A definition that a chunk holds."""

    chunk_id: int
    name: str
    symbol: str
    path: str


_KEY = "name_key"


def write(path: Path, symbols: pa.Table) -> None:
    """Write the definitions among the rows of a symbols table that lie in a chunk."""
    rows = symbols.filter((pc.field("role") == "definition") & pc.field("chunk_id").is_valid())
    rows = rows.select(list(DefinitionRow._fields))
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

    def of(self, names: Iterable[str]) -> list[DefinitionRow]:
        """Definitions that bear one of the names exactly, in no order."""
        asked = frozenset(names)
        found = [row for row in _rows(self._base, asked) if row.path not in self._hidden]
        return found if self._overlay is None else [*found, *_rows(self._overlay, asked)]


def _rows(rows: MappedRows, names: Collection[str]) -> Iterator[DefinitionRow]:
    keys = np.fromiter({name_key(name) for name in names}, np.int64)
    found = map(DefinitionRow._make, zip(*rows.take(keys, DefinitionRow._fields), strict=True))
    return (row for row in found if row.name in names)  # keys may collide
