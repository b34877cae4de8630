"""Rows in an Arrow file that is mapped into memory, found by a sorted column of numbers: nothing is read but them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.types as kinds
from numpy.typing import NDArray

from codeintel_core.errors import GenerationCorrupt


def write(path: Path, rows: pa.Table, key: str) -> None:
    """Write the rows as one batch sorted by the int64 column `key`; texts may together exceed 2 GB as large_string."""
    keys = rows[key].to_numpy()
    if (keys[1:] < keys[:-1]).any():  # a sorted table, however large, is not copied once more
        rows = rows.sort_by(key)
    rows = rows.combine_chunks()
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
            self._readers: dict[str, _Reader] = {}
        except (OSError, pa.ArrowException, KeyError) as error:
            why = str(error).splitlines()[0]
            raise GenerationCorrupt(f"{path.name} cannot be opened: {why}") from None

    def has(self, columns: Sequence[str]) -> bool:
        """Whether it has all of these columns."""
        return set(columns) <= set(self._rows.schema.names)

    def columns(self, columns: Sequence[str]) -> pa.RecordBatch:
        """These columns of all rows."""
        return self._rows.select(list(columns))

    def of(self, keys: NDArray[np.int64], columns: Sequence[str]) -> pa.RecordBatch:
        """These columns of the rows that have one of the distinct keys; nothing for keys that are not there."""
        rows, at = self._rows.select(list(columns)), self._positions(keys)
        return rows.take(pa.array(at)) if len(at) else rows.slice(0, 0)

    def take(self, keys: NDArray[np.int64], columns: Sequence[str]) -> list[list[Any]]:
        """`of` as lists of plain values, without the Arrow arrays between that cost more than a few rows' values."""
        at = self._positions(keys)
        return [self._reader(name)(at) if len(at) else [] for name in columns]

    def _positions(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where the rows of the keys are: int64, in the order of `keys`."""
        first, last = (np.searchsorted(self._keys, keys, side) for side in ("left", "right"))
        counts = last - first
        total = int(counts.sum())
        within = np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)  # 0, 1, … of each key's rows
        at: NDArray[np.int64] = np.repeat(first, counts) + within
        return at

    def _reader(self, name: str) -> _Reader:
        if (reader := self._readers.get(name)) is None:
            reader = self._readers[name] = _reader_of(self._rows[name])
        return reader


_Reader = Callable[[NDArray[np.int64]], list[Any]]
"""From positions of a column to its values there."""


def _reader_of(column: pa.Array) -> _Reader:
    is_long = kinds.is_large_string(column.type)
    if column.null_count == 0 and (is_long or kinds.is_string(column.type)):
        return _texts(column, np.dtype(np.int64 if is_long else np.int32))
    if column.null_count == 0 and kinds.is_integer(column.type):
        numbers = column.to_numpy()
        return lambda at: numbers[at].tolist()
    return lambda at: column.take(pa.array(at)).to_pylist()


def _texts(column: pa.Array, offset: np.dtype[Any]) -> _Reader:
    _, starts, data = column.buffers()
    bounds = np.frombuffer(starts, offset)[column.offset :]
    size = 0 if data is None else data.size
    # Slices of it are bytes at once; those of a memoryview are objects that take twice as long to decode. It does not
    # keep its memory, `firsts` does.
    text: Any = (ctypes.c_char * size).from_address(data.address) if size else b""
    firsts = np.frombuffer(data if size else b"\0", np.uint8)

    def read(at: NDArray[np.int64]) -> list[Any]:
        starts, ends = bounds[at], bounds[at + 1]
        firsts.take(starts, mode="clip")  # rows lie anywhere: this waits for their memory together, the loop for each
        return [text[start:end].decode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    return read
