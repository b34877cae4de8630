"""Vectors of the chunks: the parent's where nothing changed, else from the cache, else computed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import identity, schemas
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import Matrix
from codeintel_core.embedding.embed import embed_texts
from codeintel_core.embedding.select import encoder_for
from codeintel_core.embedding.text import embedded_text
from codeintel_core.indexes.dense import Ids
from codeintel_pipelines.build import parts
from codeintel_pipelines.build.plan import Build, Embed
from codeintel_pipelines.build.work import encode_slices
from codeintel_pipelines.engines import Ran

_COLUMNS = ["chunk_id", "path", "symbol", "name", "file_class", "text"]


@dataclass(frozen=True, slots=True)
class EmbeddingCost:
    """What the vectors of a generation cost.

    Attributes:
        vectors: how many the generation has.
        reused: taken over from the parent or found in the cache (there, equal texts count once).
        computed: distinct texts that were encoded.
        seconds: of the look-ups and of encoding.
        engine: that encoded: inline, local or ray.
        workers: of the engine.
        retries: of batches whose worker died.
    """

    vectors: int
    reused: int
    computed: int
    seconds: float
    engine: str
    workers: int
    retries: int


def embed(build: Build) -> EmbeddingCost:
    """Write embeddings.parquet, in the parts of chunks.parquet: the vectors of the chunks that the plan wants."""
    contract = build.contract
    target = build.folder / "embeddings.parquet"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    work, before, linked = _take_over(build, target)
    schema = schemas.embeddings(contract.dimension)
    tables = [pq.read_table(path, columns=_COLUMNS) for path in work]
    chunks = pa.concat_tables([*tables, schemas.CHUNKS.empty_table().select(_COLUMNS)])
    old_keys, (_, old_vectors) = before["text_key"].to_pylist(), read_vectors(before)
    rows = _rows_in(before, chunks, build.fresh_paths)
    keys = np.array([old_keys[row] if row >= 0 else "" for row in rows.tolist()], object)
    matrix: Matrix = np.zeros((len(rows), contract.dimension), np.float32)
    matrix[rows >= 0] = old_vectors[rows[rows >= 0]]
    kept, reused, computed, seconds = int((rows >= 0).sum()), 0, 0, 0.0
    ran = Ran()
    rest = np.flatnonzero(rows < 0)
    if len(rest) and not build.plan.compact:
        missing = chunks.take(pa.array(rest))
        texts = list(map(embedded_text, missing["text"].to_pylist(), missing["symbol"].to_pylist()))
        with VectorCache(build.home.vectors(contract.contract_id), contract) as cache:
            wanted = _wanted(build, missing, texts, cache)
            encoder = encoder_for(build.settings, threads=build.settings.embedding_threads)
            encode = partial(encode_slices, encoder, build.settings, ran)
            embedded = embed_texts(encoder, cache, [texts[i] for i in wanted], encode)
        keys[rest[wanted]], matrix[rest[wanted]] = embedded.keys, embedded.matrix
        reused, computed, seconds = embedded.reused, embedded.computed, embedded.seconds
    ends = np.cumsum([table.num_rows for table in tables], dtype=np.int64)
    ids = chunks["chunk_id"].to_numpy()
    for path, end, table in zip(work, ends.tolist(), tables, strict=True):
        mine = np.arange(end - table.num_rows, end)
        mine = mine[keys[mine] != ""]
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix[mine].ravel()), contract.dimension)
        part = pa.Table.from_arrays([pa.array(ids[mine]), pa.array(keys[mine], pa.string()), vectors], schema=schema)
        pq.write_table(part, target / path.name, compression="none", use_dictionary=False)
    total = linked + int((keys != "").sum())
    reused += linked + kept
    return EmbeddingCost(total, reused, computed, round(seconds, 3), ran.engine, ran.workers, ran.retries)


def read_vectors(table: pa.Table) -> tuple[Ids, Matrix]:
    """Chunk ids (n,) int64 and vectors (n, dimension) float32 of an embeddings table."""
    column = table["vector"].combine_chunks()
    matrix: Matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
    return table["chunk_id"].to_numpy(), matrix


def _take_over(build: Build, target: Path) -> tuple[list[Path], pa.Table, int]:
    """Link the parts that stay as they are.

    Returns the parts of chunks.parquet whose vectors are to be written, the parent's vectors for them, and how many
    vectors were linked. A parent that lacks vectors may lack them in any part.
    """
    chunks, schema = build.folder / "chunks.parquet", schemas.embeddings(build.contract.dimension)
    if build.parent_folder is None or build.parent_manifest is None:
        return parts.files(chunks), schema.empty_table(), 0
    theirs, counts = build.parent_folder / target.name, build.parent_manifest.counts
    work = parts.replaced(chunks, build.parent_folder / chunks.name)[0]
    before = parts.files(theirs)
    if len(before) != len(parts.files(chunks)) or (counts.is_dense_pending and not build.plan.compact):
        return parts.files(chunks), parts.read(before, None, schema), 0
    rewritten = {path.name for path in work}
    parts.link(theirs, target, (path.name for path in before if path.name not in rewritten))
    old = parts.read([path for path in before if path.name in rewritten], None, schema)
    return work, old, counts.embedded - old.num_rows


def _rows_in(before: pa.Table, chunks: pa.Table, fresh_paths: frozenset[str]) -> Ids:
    """Row of each chunk's vector in the parent's table, -1 where it has none or comes from a file that changed."""
    row_of = {chunk_id: row for row, chunk_id in enumerate(before["chunk_id"].to_pylist())}
    pairs = zip(chunks["chunk_id"].to_pylist(), chunks["path"].to_pylist(), strict=True)
    found = [-1 if path in fresh_paths else row_of.get(chunk_id, -1) for chunk_id, path in pairs]
    return np.array(found, np.int64)


def _wanted(build: Build, chunks: pa.Table, texts: Sequence[str], cache: VectorCache) -> list[int]:
    """Rows that get a vector now: all of them, or what is cached (and definitions) when the rest would take long."""
    everything = list(range(len(texts)))
    if build.plan.embed is Embed.ALL:
        return everything
    contract_id = cache.contract.contract_id
    present = cache.get_many([identity.text_key(contract_id, text) for text in texts]).present
    if build.plan.embed is Embed.AUTO and np.count_nonzero(~present) <= build.settings.lexical_first_texts:
        return everything
    if build.plan.embed is Embed.DEFINITIONS:
        rows = zip(chunks["name"].to_pylist(), chunks["file_class"].to_pylist(), strict=True)
        present = present | np.array([bool(name) and file_class == "source" for name, file_class in rows])
    return np.flatnonzero(present).tolist()
