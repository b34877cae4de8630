"""Index stages: vectors, the dual dense index, Lucene and the catalog, each from chunks.parquet."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import catalog, identity, schemas
from codeintel_core.analysis import document_terms
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import Matrix
from codeintel_core.embedding.embed import embed_texts
from codeintel_core.embedding.select import encoder_for
from codeintel_core.embedding.text import embedded_text
from codeintel_core.indexes import dense_build, lexical
from codeintel_core.indexes.dense import PRIMARY, Ids, Shard
from codeintel_core.indexes.lexical import LexicalDocument
from codeintel_pipelines.build.plan import Build, Embed

_LEXICAL_COLUMNS = ["chunk_id", "symbol", "docstring", "path", "language", "file_class"]


@dataclass(frozen=True, slots=True)
class EmbeddingCost:
    """What the vectors of a generation cost."""

    vectors: int
    reused: int
    computed: int
    seconds: float


def embed(build: Build) -> EmbeddingCost:
    """Write embeddings.parquet: the vectors of the chunks the plan wants, most of them from the cache."""
    contract = build.contract
    if build.plan.compact and build.parent_folder:
        os.link(build.parent_folder / "embeddings.parquet", build.folder / "embeddings.parquet")
        vectors = pq.read_metadata(build.folder / "embeddings.parquet").num_rows
        return EmbeddingCost(vectors, vectors, 0, 0.0)
    encoder = encoder_for(build.settings, threads=build.settings.embedding_threads)
    chunks = build.read("chunks.parquet", ["chunk_id", "symbol", "name", "file_class", "text"])
    texts = [
        embedded_text(text, symbol)
        for text, symbol in zip(chunks["text"].to_pylist(), chunks["symbol"].to_pylist(), strict=True)
    ]
    with VectorCache(build.home.vectors(contract.contract_id), contract) as cache:
        wanted = _wanted(build, chunks, texts, cache)
        chunks, texts = chunks.take(pa.array(wanted, pa.int64())), [texts[i] for i in wanted]
        embedded = embed_texts(encoder, cache, texts)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embedded.matrix.ravel()), contract.dimension)
    table = pa.Table.from_arrays(
        [chunks["chunk_id"].combine_chunks(), pa.array(embedded.keys), vectors],
        schema=schemas.embeddings(contract.dimension),
    )
    pq.write_table(table, build.folder / "embeddings.parquet", compression="none", use_dictionary=False)
    return EmbeddingCost(len(texts), embedded.reused, embedded.computed, round(embedded.seconds, 3))


def _wanted(build: Build, chunks: pa.Table, texts: list[str], cache: VectorCache) -> list[int]:
    """Rows that get a vector now: all of them, or what is cached (and definitions) when the rest would take long."""
    everything = list(range(len(texts)))
    if build.plan.embed is Embed.ALL:
        return everything
    present = cache.get_many([identity.text_key(build.contract.contract_id, text) for text in texts]).present
    if build.plan.embed is Embed.AUTO and np.count_nonzero(~present) <= build.settings.lexical_first_texts:
        return everything
    if build.plan.embed is Embed.DEFINITIONS:
        rows = zip(chunks["name"].to_pylist(), chunks["file_class"].to_pylist(), strict=True)
        present = present | np.array([bool(name) and file_class == "source" for name, file_class in rows])
    return np.flatnonzero(present).tolist()


def read_vectors(table: pa.Table) -> tuple[Ids, Matrix]:
    """Chunk ids (n,) int64 and vectors (n, dimension) float32 of an embeddings table."""
    column = table["vector"].combine_chunks()
    matrix: Matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), column.type.list_size)
    return table["chunk_id"].to_numpy(), matrix


def build_primary(build: Build) -> dict[str, Any]:
    """Write the primary: linked from the parent while the secondary and tombstones stay small, else built anew.

    Returns the parameters for the manifest: kind, metric, operating point, recall.
    """
    target = build.folder / "dense"
    if build.parent_folder and build.parent_manifest and not build.plan.compact and not _outgrown(build):
        dense_build.link_primary(build.parent_folder / "dense", target)
        return build.parent_manifest.dense
    ids, vectors = read_vectors(build.read("embeddings.parquet"))
    choice = dense_build.build_primary(
        vectors, ids, target, flat_max=build.settings.dense_flat_max, min_recall=build.settings.dense_min_recall
    )
    return choice.as_parameters()


def build_secondary(build: Build) -> dict[str, int]:
    """Write the flat secondary and the tombstones: what the primary lacks and what it still has too much."""
    primary = Shard.open(build.folder / "dense", PRIMARY)
    ids, vectors = read_vectors(build.read("embeddings.parquet"))
    kept = _kept_in_primary(build, primary.ids) if _is_linked(build) else primary.ids
    fresh = ~np.isin(ids, kept)
    tombstones = np.setdiff1d(primary.ids, kept)
    dense_build.write_secondary(vectors[fresh], ids[fresh], tombstones, build.folder / "dense")
    return {"primary": len(primary.ids), "secondary": int(fresh.sum()), "tombstones": len(tombstones)}


def build_lucene(build: Build) -> dict[str, int]:
    """Write the Lucene index: the parent's segments plus deletions and additions, or everything."""
    target = build.folder / "lucene"
    chunks = build.read("chunks.parquet", [*_LEXICAL_COLUMNS, "text"])
    parent = build.read_parent("chunks.parquet", _LEXICAL_COLUMNS)
    if parent is None or build.parent_folder is None or build.plan.compact:
        count = lexical.write(target, add=lexical_documents(chunks))
        return {"documents": count, "added": count, "deleted": 0}
    before = {row["chunk_id"]: row for row in parent.to_pylist()}
    now = {row["chunk_id"]: row for row in chunks.select(_LEXICAL_COLUMNS).to_pylist()}
    same = {chunk_id for chunk_id, row in now.items() if before.get(chunk_id) == row}
    add = chunks.filter(pa.array([chunk_id not in same for chunk_id in chunks["chunk_id"].to_pylist()]))
    delete = sorted(before.keys() - same)
    lexical.link_segments(build.parent_folder / "lucene", target)
    count = lexical.write(target, add=lexical_documents(add), delete=delete)
    return {"documents": count, "added": add.num_rows, "deleted": len(delete)}


def build_catalog(build: Build) -> dict[str, int]:
    """Write catalog.duckdb, where hits are hydrated."""
    tables = {name: build.read(f"{name}.parquet") for name in ("chunks", "files", "symbols")}
    path = build.folder / "catalog.duckdb"
    path.unlink(missing_ok=True)
    catalog.build(path, chunks=tables["chunks"], files=tables["files"], symbols=tables["symbols"])
    return {name: table.num_rows for name, table in tables.items()} | {"size_bytes": path.stat().st_size}


def lexical_documents(chunks: pa.Table) -> list[LexicalDocument]:
    """What Lucene is given for the rows of a chunks table."""
    return [
        LexicalDocument(
            row["chunk_id"],
            document_terms(symbol=row["symbol"], path=row["path"], text=row["text"], docstring=row["docstring"]),
            row["path"],
            row["language"],
            row["file_class"],
        )
        for row in chunks.to_pylist()
    ]


def _vector_rows(table: pa.Table | None) -> set[tuple[int, str]]:
    if table is None:
        return set()
    return set(zip(table["chunk_id"].to_pylist(), table["text_key"].to_pylist(), strict=True))


def _unchanged_ids(build: Build) -> Ids:
    """Ids whose vector is the same as in the parent: same chunk and same embedded text."""
    columns = ["chunk_id", "text_key"]
    same = _vector_rows(build.read_parent("embeddings.parquet", columns)) & _vector_rows(
        build.read("embeddings.parquet", columns)
    )
    return np.array(sorted(chunk_id for chunk_id, _ in same), np.int64)


def _parent_tombstones(build: Build) -> Ids:
    assert build.parent_folder is not None
    found: Ids = pq.read_table(build.parent_folder / "dense" / "tombstones.parquet")["chunk_id"].to_numpy()
    return found


def _kept_in_primary(build: Build, primary_ids: Ids) -> Ids:
    """Primary ids that are still right: alive in the parent's primary, and unchanged since."""
    return np.intersect1d(np.setdiff1d(primary_ids, _parent_tombstones(build)), _unchanged_ids(build))


def _outgrown(build: Build) -> bool:
    """Whether so much is outside the parent's primary that a new one cannot wait for compaction."""
    assert build.parent_folder is not None
    primary_ids: Ids = np.load(build.parent_folder / "dense" / f"{PRIMARY}_ids.npy", allow_pickle=False)
    kept = len(_kept_in_primary(build, primary_ids))
    total: int = build.read("embeddings.parquet", ["chunk_id"]).num_rows
    outside = (total - kept) + (len(primary_ids) - kept)
    return outside > build.settings.inline_rebuild_ratio * max(1, len(primary_ids))


def _is_linked(build: Build) -> bool:
    if build.parent_folder is None:
        return False
    mine = build.folder / "dense" / f"{PRIMARY}.faiss"
    return mine.samefile(build.parent_folder / "dense" / f"{PRIMARY}.faiss")
