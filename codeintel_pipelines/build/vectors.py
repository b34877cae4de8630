"""Vectors of the chunks: the parent's where nothing changed, else from the cache, else computed."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from codeintel_core import identity, schemas
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import Matrix
from codeintel_core.embedding.embed import Embedded, embed_texts
from codeintel_core.embedding.select import encoder_for
from codeintel_core.embedding.text import embedded_text
from codeintel_core.indexes.dense import Ids
from codeintel_pipelines.build import parts
from codeintel_pipelines.build.plan import Build, Embed
from codeintel_pipelines.build.work import encode_slices
from codeintel_pipelines.engines import Ran

Keys = NDArray[np.object_]
"""`identity.text_key` of each row, '' where it gets no vector."""
_COLUMNS = ["chunk_id", "path", "symbol", "name", "file_class", "text"]
_CHUNKS_AT_ONCE = 65_536  # at most as many and a part more: half a gigabyte with their texts


@dataclass(frozen=True, slots=True)
class EmbeddingCost:
    """What the vectors of a generation cost.

    Attributes:
        vectors: how many the generation has.
        reused: taken over from the parent or found in the cache (there, equal texts of a group count once; what an
            earlier group of the same build computed is found there too).
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
    target = build.folder / "embeddings.parquet"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    work, before, linked = _take_over(build, target)
    (_, old_vectors), old_keys = read_vectors(before), np.array(before["text_key"].to_pylist(), object)
    row_of = {chunk_id: row for row, chunk_id in enumerate(before["chunk_id"].to_pylist())}
    counts, seconds, ran = Counter(vectors=linked, reused=linked), 0.0, Ran()
    wanted_now = build.plan.embed
    if wanted_now is Embed.AUTO and not build.plan.compact and not _takes_long(build, work, row_of):
        wanted_now = Embed.ALL
    for some in _groups(work):
        tables = [pq.read_table(path, columns=_COLUMNS) for path in some]
        chunks = pa.concat_tables(tables)
        rows = _rows_in(row_of, chunks, build.fresh_paths)
        keys, matrix = np.full(len(rows), "", object), np.zeros((len(rows), build.contract.dimension), np.float32)
        kept, rest = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        keys[kept], matrix[kept] = old_keys[rows[kept]], old_vectors[rows[kept]]
        if len(rest) and not build.plan.compact:
            wanted, embedded = _embedded(build, chunks.take(pa.array(rest)), wanted_now, ran)
            keys[rest[wanted]], matrix[rest[wanted]] = embedded.keys, embedded.matrix
            counts.update(reused=embedded.reused, computed=embedded.computed)
            seconds += embedded.seconds
        counts.update(reused=len(kept), vectors=int((keys != "").sum()))
        _write(target, some, tables, keys, matrix)
    return EmbeddingCost(
        counts["vectors"], counts["reused"], counts["computed"], round(seconds, 3), ran.engine, ran.workers, ran.retries
    )


def _groups(work: Sequence[Path]) -> Iterator[list[Path]]:
    """Parts that are embedded together: what is held in memory follows the group, not the repository."""
    some: list[Path] = []
    count = 0
    for path in work:
        some.append(path)
        count += pq.read_metadata(path).num_rows
        if count >= _CHUNKS_AT_ONCE:
            yield some
            some, count = [], 0
    if some:
        yield some


def _takes_long(build: Build, work: Sequence[Path], row_of: Mapping[int, int]) -> bool:
    """Whether more texts would have to be encoded than search should wait for."""
    missing = 0
    with VectorCache(build.home.vectors(build.contract.contract_id), build.contract) as cache:
        for path in work:
            chunks = pq.read_table(path, columns=_COLUMNS)
            chunks = chunks.take(pa.array(np.flatnonzero(_rows_in(row_of, chunks, build.fresh_paths) < 0)))
            keys = _keys(cache, _texts(chunks))
            known = cache.known(keys)
            missing += sum(key not in known for key in keys)
            if missing > build.settings.lexical_first_texts:
                return True
    return False


def _texts(chunks: pa.Table) -> list[str]:
    return list(map(embedded_text, chunks["text"].to_pylist(), chunks["symbol"].to_pylist()))


def _keys(cache: VectorCache, texts: Sequence[str]) -> list[str]:
    contract_id = cache.contract.contract_id
    return [identity.text_key(contract_id, text) for text in texts]


def _embedded(build: Build, chunks: pa.Table, embed: Embed, ran: Ran) -> tuple[list[int], Embedded]:
    """The rows that get a vector now, and their vectors."""
    contract, texts = build.contract, _texts(chunks)
    with VectorCache(build.home.vectors(contract.contract_id), contract) as cache:
        wanted = _wanted(chunks, texts, cache, embed)
        encoder = encoder_for(build.settings, threads=build.settings.embedding_threads)
        encode = partial(encode_slices, encoder, build.settings, ran)
        return wanted, embed_texts(encoder, cache, [texts[i] for i in wanted], encode)


def _write(target: Path, names: Sequence[Path], tables: Sequence[pa.Table], keys: Keys, matrix: Matrix) -> None:
    """Write the rows that have a key, in a part for each table of chunks; keys and vectors are of all their rows."""
    schema = schemas.embeddings(matrix.shape[1])
    start = 0
    for path, table in zip(names, tables, strict=True):
        mine = start + np.flatnonzero(keys[start : start + table.num_rows] != "")
        ids = table["chunk_id"].to_numpy()[mine - start]
        start += table.num_rows
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(matrix[mine].ravel()), matrix.shape[1])
        part = pa.Table.from_arrays([pa.array(ids), pa.array(keys[mine], pa.string()), vectors], schema=schema)
        pq.write_table(part, target / path.name, compression="none", use_dictionary=False)


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


def _rows_in(row_of: Mapping[int, int], chunks: pa.Table, fresh_paths: frozenset[str]) -> Ids:
    """Row of each chunk's vector in the parent's table, -1 where it has none or comes from a file that changed."""
    pairs = zip(chunks["chunk_id"].to_pylist(), chunks["path"].to_pylist(), strict=True)
    found = [-1 if path in fresh_paths else row_of.get(chunk_id, -1) for chunk_id, path in pairs]
    return np.array(found, np.int64)


def _wanted(chunks: pa.Table, texts: Sequence[str], cache: VectorCache, embed: Embed) -> list[int]:
    """Rows that get a vector now: all of them, or what is cached (and definitions) when the rest would take long."""
    if embed is Embed.ALL:
        return list(range(len(texts)))
    keys = _keys(cache, texts)
    known = cache.known(keys)
    present = np.array([key in known for key in keys])
    if embed is Embed.DEFINITIONS:
        rows = zip(chunks["name"].to_pylist(), chunks["file_class"].to_pylist(), strict=True)
        present |= np.array([bool(name) and file_class == "source" for name, file_class in rows])
    return np.flatnonzero(present).tolist()
