"""Rows as an engine gets them, read from the tables of a generation, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import identity
from codeintel_core.vector_engine.protocol import Keys

SCOPED = ("chunk_id", "path", "language", "file_class")
_KEYED = ("chunk_id", "text_key", "path", "language", "file_class")


def keys_of(rows: pa.Table) -> Keys:
    """A 64-bit key for each row, int64 (n,): equal when chunk, embedded text, path, language and class are."""
    columns = [rows[name].to_pylist() for name in _KEYED]
    rows_of = zip(*columns, strict=True)
    return np.array([identity.row_key(str(chunk_id), *texts) for chunk_id, *texts in rows_of], np.int64)


def parts(folder: Path, names: Sequence[str] | None = None, *, vectors: bool) -> Iterator[pa.Table]:
    """Rows of the chunks that have a vector: `SCOPED`, text_key, key, and vector when wanted; one table for each part.

    Args:
        folder: of a generation, or staging.
        names: files of the parts; None means all.
        vectors: whether the vectors are read.
    """
    wanted = ["chunk_id", "text_key", *(["vector"] if vectors else [])]
    if names is None:
        names = sorted(path.name for path in (folder / "embeddings.parquet").glob("part-*.parquet"))
    for name in names:
        embedded = pq.read_table(folder / "embeddings.parquet" / name, columns=wanted)
        chunks = pq.read_table(folder / "chunks.parquet" / name, columns=list(SCOPED))
        at = {chunk_id: row for row, chunk_id in enumerate(chunks["chunk_id"].to_pylist())}
        order = pa.array([at[chunk_id] for chunk_id in embedded["chunk_id"].to_pylist()], pa.int64())
        scoped = chunks.take(order)
        for column in SCOPED[1:]:
            embedded = embedded.append_column(column, scoped[column])
        yield embedded.append_column("key", pa.array(keys_of(embedded)))
