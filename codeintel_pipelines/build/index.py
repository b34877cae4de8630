"""Index stages: the dual dense index, Lucene and the catalog, each from the tables and what changed in them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.dataset import dataset

from codeintel_core import catalog
from codeintel_core.analysis import document_terms
from codeintel_core.embedding.contract import Matrix
from codeintel_core.indexes import dense_build, ids_file, jvm, lexical
from codeintel_core.indexes.dense import PRIMARY, SECONDARY, Ids, Shard
from codeintel_core.indexes.lexical import LexicalDocument
from codeintel_pipelines.build import parts
from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.vectors import read_vectors

_LEXICAL_COLUMNS = ["chunk_id", "symbol", "docstring", "path", "language", "file_class"]
_NO_IDS: Ids = np.empty(0, np.int64)


def build_primary(build: Build) -> dict[str, Any]:
    """Write the primary: linked from the parent while the secondary and tombstones stay small, else built anew.

    Returns the parameters for the manifest: kind, metric, operating point, recall.
    """
    target = build.folder / "dense"
    if build.parent_folder and build.parent_manifest and not build.plan.compact and not _outgrown(build):
        dense_build.link_primary(build.parent_folder / "dense", target)
        return build.parent_manifest.dense
    ids, vectors = _all_vectors(build)
    choice = dense_build.build_primary(
        vectors, ids, target, flat_max=build.settings.dense_flat_max, min_recall=build.settings.dense_min_recall
    )
    return choice.as_parameters()


def build_secondary(build: Build) -> dict[str, int]:
    """Write the flat secondary and the tombstones: what the primary lacks and what it still has too much.

    They are the parent's, less the vectors that went and plus those that came.
    """
    target = build.folder / "dense"
    primary = Shard.open(target, PRIMARY)
    ids, vectors, tombstones = _NO_IDS, np.empty((0, primary.dimension), np.float32), _NO_IDS
    if build.parent_folder and is_linked(build):
        gone, new = _turnover(build)
        parent = Shard.open(build.parent_folder / "dense", SECONDARY)
        alive = np.flatnonzero(~np.isin(parent.ids, gone))
        now_ids, now_vectors = read_vectors(build.replaced("embeddings.parquet")[0])
        came = np.isin(now_ids, new)
        ids = np.concatenate([parent.ids[alive], now_ids[came]])
        vectors = np.concatenate([parent.vectors(alive), now_vectors[came]])
        tombstones = np.union1d(_parent_tombstones(build), primary.ids[np.isin(primary.ids, gone)])
    dense_build.write_secondary(vectors, ids, tombstones, target)
    return {"primary": len(primary.ids), "secondary": len(ids), "tombstones": len(tombstones)}


def build_lucene(build: Build) -> dict[str, int]:
    """Write the Lucene index: the parent's segments plus deletions and additions, or everything."""
    target = build.folder / "lucene"
    if build.parent_folder is None or build.plan.compact:
        jvm.expect(build.facts("chunks")["chunks"])
        every = (pq.read_table(part, columns=[*_LEXICAL_COLUMNS, "text"]) for part in _parts(build, "chunks.parquet"))
        count = lexical.write(target, add=chain.from_iterable(map(lexical_documents, every)))
        return {"documents": count, "added": count, "deleted": 0}
    chunks, parent = build.replaced("chunks.parquet", [*_LEXICAL_COLUMNS, "text"])
    before = {row["chunk_id"]: row for row in parent.select(_LEXICAL_COLUMNS).to_pylist()}
    now = {row["chunk_id"]: row for row in chunks.select(_LEXICAL_COLUMNS).to_pylist()}
    same = {chunk_id for chunk_id, row in now.items() if before.get(chunk_id) == row}
    add = chunks.filter(pa.array([chunk_id not in same for chunk_id in chunks["chunk_id"].to_pylist()], pa.bool_()))
    delete = sorted(before.keys() - same)
    lexical.link_segments(build.parent_folder / "lucene", target)
    count = lexical.write(target, add=lexical_documents(add), delete=delete)
    return {"documents": count, "added": add.num_rows, "deleted": len(delete)}


def build_catalog(build: Build) -> dict[str, int]:
    """Write the catalog, where hits are hydrated: the parent's with an overlay of what changed, or a new one."""
    path = build.folder / catalog.FILE_NAME
    for left in build.folder.glob("catalog*"):  # of an interrupted build
        left.unlink()
    if build.parent_folder and not build.plan.compact and not _catalog_outgrown(build):
        tables = {name: _fresh_rows(build, f"{name}.parquet") for name in ("chunks", "symbols")}
        files = build.read("files.parquet")
        fresh = pa.array(sorted(build.fresh_paths), pa.string())
        size = catalog.extend(
            build.parent_folder / catalog.FILE_NAME, path, **tables,
            files=files.filter(pc.is_in(files["path"], value_set=fresh)), gone=sorted(build.gone_paths),
        )  # fmt: skip
    else:
        chunks, symbols = (dataset(_parts(build, name)) for name in ("chunks.parquet", "symbols.parquet"))
        catalog.build(path, chunks=chunks, files=build.read("files.parquet"), symbols=symbols)
        size = 0
    return {"overlay": size, "size_bytes": sum(file.stat().st_size for file in build.folder.glob("catalog*"))}


def lexical_documents(chunks: pa.Table) -> Iterator[LexicalDocument]:
    """What Lucene is given for the rows of a chunks table."""
    for row in chunks.to_pylist():
        terms = document_terms(symbol=row["symbol"], path=row["path"], text=row["text"], docstring=row["docstring"])
        yield LexicalDocument(row["chunk_id"], terms, row["path"], row["language"], row["file_class"])


def _parts(build: Build, name: str) -> list[Path]:
    return parts.files(build.folder / name)


def _all_vectors(build: Build) -> tuple[Ids, Matrix]:
    """As `read_vectors`, of the whole generation: there is one copy of them at a time."""
    files = _parts(build, "embeddings.parquet")
    rows = [pq.read_metadata(file).num_rows for file in files]
    ids, vectors = np.empty(sum(rows), np.int64), np.empty((sum(rows), build.contract.dimension), np.float32)
    ends = np.cumsum(rows, dtype=np.int64)
    for file, start, end in zip(files, ends - rows, ends, strict=True):
        ids[start:end], vectors[start:end] = read_vectors(pq.read_table(file))
    return ids, vectors


def is_linked(build: Build) -> bool:
    """Whether the primary is the parent's."""
    if build.parent_folder is None:
        return False
    mine = build.folder / "dense" / f"{PRIMARY}.faiss"
    return mine.samefile(build.parent_folder / "dense" / f"{PRIMARY}.faiss")


def _turnover(build: Build) -> tuple[Ids, Ids]:
    """Ids whose vector of the parent is not right any more, and ids that have another vector now, or their first."""
    now, before = map(_vector_rows, build.replaced("embeddings.parquet", ["chunk_id", "text_key"]))
    gone, new = ({chunk_id for chunk_id, _ in rows} for rows in (before - now, now - before))
    return np.array(sorted(gone), np.int64), np.array(sorted(new), np.int64)


def _vector_rows(table: pa.Table) -> set[tuple[int, str]]:
    return set(zip(table["chunk_id"].to_pylist(), table["text_key"].to_pylist(), strict=True))


def _parent_tombstones(build: Build) -> Ids:
    assert build.parent_folder is not None
    found: Ids = pq.read_table(build.parent_folder / "dense" / "tombstones.parquet")["chunk_id"].to_numpy()
    return found


def _outgrown(build: Build) -> bool:
    """Whether so much is outside the parent's primary that a new one cannot wait for compaction."""
    assert build.parent_folder is not None
    assert build.parent_manifest is not None
    gone, new = _turnover(build)
    primary_ids = ids_file.mapped(build.parent_folder / "dense" / f"{PRIMARY}_ids.npy")
    total = build.parent_manifest.counts.embedded - len(gone) + len(new)
    dead = len(np.union1d(_parent_tombstones(build), primary_ids[np.isin(primary_ids, gone)]))
    outside = total - (len(primary_ids) - dead) + dead
    return outside > build.settings.inline_rebuild_ratio * max(1, len(primary_ids))


def _fresh_rows(build: Build, name: str) -> pa.Table:
    """Rows of a table that are not taken over from the parent."""
    rows = build.replaced(name)[0]
    return rows.filter(pc.is_in(rows["path"], value_set=pa.array(sorted(build.fresh_paths), pa.string())))


def _catalog_outgrown(build: Build) -> bool:
    """Whether the parent's catalog would be covered by too much: then a new one cannot wait for compaction."""
    assert build.parent_manifest is not None
    fresh = int(_fresh_rows(build, "chunks.parquet").num_rows) + len(build.gone_paths)
    overlay = build.parent_manifest.reuse.get("catalog_overlay", 0) + fresh
    return overlay > build.settings.inline_rebuild_ratio * build.parent_manifest.counts.chunks
