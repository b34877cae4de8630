"""Rows that wait on disk until a stage has all of them: a build of a million chunks holds batches, never a table."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.ipc
from numpy.typing import NDArray


class Spill:
    """A file of rows beside the staged generation: written first, in batches, then read in any selection.

    What is read back is mapped, so the memory it takes is the system's to take back. The file goes when it is closed.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self._path = path
        path.unlink(missing_ok=True)  # of an interrupted build
        self._writer = pa.ipc.new_file(str(path), schema)
        self._batches: list[pa.RecordBatch] | None = None

    def add(self, rows: pa.Table) -> None:
        """Write rows, in the columns of the schema."""
        self._writer.write_table(rows.cast(self.schema))

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of all rows; none are added after this."""
        return pa.chunked_array([batch[name] for batch in self._mapped()], self.schema.field(name).type)

    def rows(self, wanted: NDArray[np.bool_]) -> pa.Table:
        """A copy of the rows that are wanted: a mask over all, in the order in which they were added."""
        found, start = [], 0
        for batch in self._mapped():
            mask = wanted[start : start + len(batch)]
            start += len(batch)
            if mask.any():
                found.append(batch.filter(pa.array(mask)))
        return pa.Table.from_batches(found, self.schema)

    def _mapped(self) -> list[pa.RecordBatch]:
        if self._batches is None:
            self._writer.close()
            with pa.memory_map(str(self._path)) as source:
                file = pa.ipc.open_file(source)
                self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]
        return self._batches

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk was said before; what is left is thrown away
            self._writer.close()
        self._batches = None
        self._path.unlink(missing_ok=True)
