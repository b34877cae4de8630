"""The optional sparse stage: impacts of every chunk and the impact index over them.

A build never fails because the sparse model does not answer: the generation is published without the index, says
why, and the next build completes it. What changed is all that is encoded: impacts are kept by content.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.embedding.sparse.cache import SparseCache, encode_texts
from codeintel_core.embedding.sparse.contract import Impacts, SparseContract
from codeintel_core.embedding.sparse.select import sparse_contract_for, sparse_encoder_for
from codeintel_core.embedding.text import embedded_text
from codeintel_core.errors import ContractMismatch, DeadlineExceeded, ModelUnavailable
from codeintel_core.generations.manifest import NOT_CONFIGURED, PENDING, SparseFacts
from codeintel_core.indexes import lexical, sparse
from codeintel_core.indexes.sparse import SparseDocument
from codeintel_pipelines.build.plan import Build, Embed

FOLDER, IMPACTS, LUCENE = "sparse", "impacts.parquet", "lucene"
_ROW = ["chunk_id", "path", "language", "file_class"]
_KEYED = ["chunk_id", "text_key"]


def build_sparse(build: Build) -> dict[str, Any]:
    """Write sparse/ when a sparse model is configured; returns the facts for the manifest and counts."""
    try:
        contract = _contract(build)
        if contract is None:
            return _absent(NOT_CONFIGURED)
        table, encoded = _impacts(build, contract)
    except (ModelUnavailable, DeadlineExceeded, ContractMismatch) as error:
        return _absent(f"failed: {error}")
    if table is None:
        return _absent(PENDING)
    folder = build.folder / FOLDER
    folder.mkdir()
    pq.write_table(table, folder / IMPACTS, compression="zstd")
    counts = _index(build, contract, table)
    facts = SparseFacts(contract=contract, documents=counts["documents"])
    return {"sparse": facts.model_dump(), "encoded": encoded, **counts}


def _absent(reason: str) -> dict[str, Any]:
    return {"sparse": SparseFacts(reason=reason).model_dump(), "encoded": 0, "documents": 0, "added": 0, "deleted": 0}


def _contract(build: Build) -> SparseContract | None:
    """The contract of the settings; a compaction keeps the one it merges, whether or not the model answers."""
    served = build.parent_manifest
    if build.settings.has_sparse and build.plan.compact and served is not None and served.sparse.is_there:
        return served.sparse.contract
    return sparse_contract_for(build.settings)


def _impacts(build: Build, contract: SparseContract) -> tuple[pa.Table | None, int]:
    """Impacts of every chunk and how many texts were encoded now; None when encoding them would keep search waiting."""
    chunks = build.read("chunks.parquet", ["chunk_id", "symbol", "text"])
    texts = [
        embedded_text(text, symbol)
        for text, symbol in zip(chunks["text"].to_pylist(), chunks["symbol"].to_pylist(), strict=True)
    ]
    with SparseCache(build.home.vectors(contract.contract_id), contract) as cache:
        keys = cache.keys(texts)
        missing = len(set(keys)) - len(cache.get_many(keys))
        if build.plan.embed is not Embed.ALL and missing > build.settings.lexical_first_texts:
            return None, 0
        # A compaction, and a build of known texts, needs no model: it works while the model does not answer.
        encoder = sparse_encoder_for(build.settings, threads=build.settings.embedding_threads) if missing else None
        if encoder is None:
            known = cache.get_many(keys)
            found, encoded = [known[key] for key in keys], 0
        else:
            found, encoded = encode_texts(encoder, cache, texts)
    return _table(chunks["chunk_id"], keys, found), encoded


def _table(chunk_ids: pa.ChunkedArray, keys: list[str], found: list[Impacts]) -> pa.Table:
    offsets = np.cumsum([0, *map(len, found)]).astype(np.int32)
    pairs = np.concatenate([*found, np.empty((0, 2), np.int32)]).astype(np.int32)
    terms, impacts = (pa.ListArray.from_arrays(offsets, np.ascontiguousarray(pairs[:, i])) for i in (0, 1))
    arrays = [chunk_ids.combine_chunks(), pa.array(keys), terms, impacts]
    return pa.Table.from_arrays(arrays, schema=schemas.SPARSE)


def read_impacts(table: pa.Table) -> list[Impacts]:
    """Impacts of each row of sparse/impacts.parquet."""
    terms, impacts = table["terms"].to_pylist(), table["impacts"].to_pylist()
    return [np.array([t, i], np.int32).T.reshape(-1, 2) for t, i in zip(terms, impacts, strict=True)]


def _index(build: Build, contract: SparseContract, table: pa.Table) -> dict[str, int]:
    """Write the Lucene part: the parent's segments plus deletions and additions, or everything."""
    target = build.folder / FOLDER / LUCENE
    now = _rows(build.folder / "chunks.parquet", table)
    parent = build.parent_folder
    served = build.parent_manifest
    if parent is None or served is None or build.plan.compact or not served.sparse.is_of(contract):
        count = sparse.write(target, add=_documents(table, now, set(now)))
        return {"documents": count, "added": count, "deleted": 0}
    before = _rows(parent / "chunks.parquet", pq.read_table(parent / FOLDER / IMPACTS, columns=_KEYED))
    same = {chunk_id for chunk_id, row in now.items() if before.get(chunk_id) == row}
    add, delete = now.keys() - same, sorted(before.keys() - same)
    lexical.link_segments(parent / FOLDER / LUCENE, target)
    if not add and not delete:
        _link(parent / FOLDER / IMPACTS, build.folder / FOLDER / IMPACTS)
    count = sparse.write(target, add=_documents(table, now, add), delete=delete)
    return {"documents": count, "added": len(add), "deleted": len(delete)}


def _link(published: Path, staged: Path) -> None:
    """Take over the parent's file in place of an equal one."""
    staged.unlink()
    os.link(published, staged)


def _rows(chunks: Path, keyed: pa.Table) -> dict[int, tuple[Any, ...]]:
    """Chunk id -> everything the index holds of the chunk (its impacts by their key)."""
    keys = dict(zip(keyed["chunk_id"].to_pylist(), keyed["text_key"].to_pylist(), strict=True))
    rows = pq.read_table(chunks, columns=_ROW).to_pylist()
    return {row["chunk_id"]: (*row.values(), keys[row["chunk_id"]]) for row in rows}


def _documents(table: pa.Table, rows: dict[int, tuple[Any, ...]], wanted: set[int]) -> list[SparseDocument]:
    ids = table["chunk_id"].to_pylist()
    some = [at for at, chunk_id in enumerate(ids) if chunk_id in wanted]
    found = read_impacts(table.take(pa.array(some, pa.int64())))
    return [SparseDocument(ids[at], impacts, *rows[ids[at]][1:4]) for at, impacts in zip(some, found, strict=True)]


def as_metadata(facts: dict[str, Any]) -> dict[str, Any]:
    """What Dagster shows of the stage."""
    kept = SparseFacts.model_validate(facts["sparse"])
    shown = {name: value for name, value in facts.items() if name != "sparse"}
    contract = {"contract": asdict(kept.contract), "contract_id": kept.contract.contract_id} if kept.contract else {}
    return {**shown, **contract, "dagster/row_count": kept.documents} | (
        {"skipped": kept.reason} if kept.reason else {}
    )
