"""Chunks sorted by id in an Arrow file that is mapped into memory: gathering rows by position costs a fraction of a
join, and every query does it. Like the catalog beside it, a file that is never changed lies under a small overlay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from codeintel_core.errors import GenerationCorrupt

FILE_NAME, OVERLAY_NAME = "catalog.arrow", "catalog_overlay.arrow"


@dataclass(frozen=True, slots=True)
class ChunkRow:
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


COLUMNS = tuple(ChunkRow.__slots__)


def write(path: Path, chunks: pa.Table) -> None:
    """Write the columns of `ChunkRow` as one batch sorted by chunk_id; texts may together exceed 2 GB."""
    rows = chunks.select(list(COLUMNS)).sort_by("chunk_id")
    rows = rows.set_column(rows.column_names.index("text"), "text", rows["text"].cast(pa.large_string()))
    rows = rows.combine_chunks()
    path.unlink(missing_ok=True)  # of an interrupted build
    with pa.ipc.new_file(path, rows.schema) as writer:
        writer.write_table(rows)


class ChunkRows:
    """The rows of a generation: those of the overlay, then those of `catalog.arrow` whose files are not hidden."""

    def __init__(self, folder: Path, hidden: Collection[str]) -> None:
        """`hidden`: paths whose rows in `catalog.arrow` are not to be seen; raises `GenerationCorrupt`."""
        self._hidden = frozenset(hidden)
        self._base = _Part(folder / FILE_NAME)
        self._overlay = _Part(folder / OVERLAY_NAME) if (folder / OVERLAY_NAME).exists() else None

    def take(self, chunk_ids: NDArray[np.int64]) -> dict[int, ChunkRow]:
        """Rows by id; `chunk_ids` are distinct and sorted, unknown ones are left out."""
        found = {row.chunk_id: row for row in self._base.take(chunk_ids) if row.path not in self._hidden}
        if self._overlay is not None:
            found.update((row.chunk_id, row) for row in self._overlay.take(chunk_ids))
        return found


class _Part:
    """One Arrow file; rows stay mapped until the last one that was given out is gone."""

    def __init__(self, path: Path) -> None:
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
                is_empty = file.num_record_batches == 0
                self._rows = pa.RecordBatch.from_pylist([], schema=file.schema) if is_empty else file.get_batch(0)
            self._ids: NDArray[np.int64] = self._rows["chunk_id"].to_numpy()
        except (OSError, pa.ArrowException, KeyError) as error:
            why = str(error).splitlines()[0]
            raise GenerationCorrupt(f"{path.name} cannot be opened: {why}") from None

    def take(self, chunk_ids: NDArray[np.int64]) -> Iterator[ChunkRow]:
        at = np.searchsorted(self._ids, chunk_ids)
        is_known = at < len(self._ids)
        is_known[is_known] = self._ids[at[is_known]] == chunk_ids[is_known]
        found = self._rows.take(pa.array(at[is_known]))
        return map(ChunkRow, *(column.to_pylist() for column in found.columns))
