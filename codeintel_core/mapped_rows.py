"""Rows in an Arrow file that is mapped into memory, found by a sorted column of numbers: nothing is read but them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray

from codeintel_core.errors import GenerationCorrupt


def write(path: Path, rows: pa.Table, key: str) -> None:
    """Write the rows as one batch sorted by the int64 column `key`; texts may together exceed 2 GB as large_string."""
    rows = rows.sort_by(key).combine_chunks()
    path.unlink(missing_ok=True)  # of an interrupted build
    with pa.ipc.new_file(path, rows.schema) as writer:
        writer.write_table(rows)


class MappedRows:
    """One such file, open; what was taken stays mapped until the last of it is gone."""

    def __init__(self, path: Path, key: str) -> None:
        """Raises `GenerationCorrupt`."""
        try:
            with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
                is_empty = file.num_record_batches == 0
                self._rows = pa.RecordBatch.from_pylist([], schema=file.schema) if is_empty else file.get_batch(0)
            self._keys: NDArray[np.int64] = self._rows[key].to_numpy()
        except (OSError, pa.ArrowException, KeyError) as error:
            why = str(error).splitlines()[0]
            raise GenerationCorrupt(f"{path.name} cannot be opened: {why}") from None

    def columns(self, columns: Sequence[str]) -> pa.RecordBatch:
        """These columns of all rows."""
        return self._rows.select(list(columns))

    def of(self, keys: NDArray[np.int64], columns: Sequence[str]) -> pa.RecordBatch:
        """These columns of the rows that have one of the distinct keys; nothing for keys that are not there."""
        first, last = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        counts = last - first
        total = int(counts.sum())
        if not total:  # as usual in an overlay
            return self._rows.select(list(columns)).slice(0, 0)
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)  # 0, 1, … of each key's rows
        return self._rows.select(list(columns)).take(pa.array(np.repeat(first, counts) + within))

    def take(self, keys: NDArray[np.int64], columns: Sequence[str]) -> list[list[Any]]:
        """`of` as lists of plain values."""
        return [column.to_pylist() for column in self.of(keys, columns).columns]
