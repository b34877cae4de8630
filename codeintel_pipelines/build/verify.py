"""Invariants of staged artefacts; the asset checks report them, and a violated one stops the build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from codeintel_core.analysis import query_terms
from codeintel_core.catalog import Catalog
from codeintel_core.deadline import Deadline
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import SparseFacts
from codeintel_core.indexes.dense import PRIMARY, SECONDARY, Shard
from codeintel_core.indexes.lexical import LexicalIndex, LexicalSearcher
from codeintel_core.indexes.sparse import SparseSearcher
from codeintel_core.indexes.sparse import query_terms as sparse_terms
from codeintel_core.scope import Scope
from codeintel_pipelines.build.index import read_vectors
from codeintel_pipelines.build.plan import Build, Embed
from codeintel_pipelines.build.sparse import FOLDER, IMPACTS, LUCENE, read_impacts

_SAMPLE = 25
_NORM_TOLERANCE = 1e-3
_SELF_RETRIEVAL = 0.9


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one check and the numbers behind it."""

    passed: bool
    facts: dict[str, Any]


def unique_ids(build: Build) -> Verdict:
    """Every chunk id occurs once."""
    ids = build.read("chunks.parquet", ["chunk_id"])["chunk_id"]
    distinct = pc.count_distinct(ids).as_py()
    return Verdict(distinct == len(ids), {"chunks": len(ids), "distinct": distinct})


def spans_inside_files(build: Build) -> Verdict:
    """Every span lies inside its file."""
    sizes = {row["path"]: row for row in build.read("files.parquet", ["path", "size_bytes", "lines"]).to_pylist()}
    columns = ["path", "start_byte", "end_byte", "start_line", "end_line"]
    outside = [
        row["path"]
        for row in build.read("chunks.parquet", columns).to_pylist()
        if not (
            0 <= row["start_byte"] < row["end_byte"] <= sizes[row["path"]]["size_bytes"]
            and 1 <= row["start_line"] <= row["end_line"] <= sizes[row["path"]]["lines"]
        )
    ]
    return Verdict(not outside, {"outside": len(outside), "examples": outside[:5]})


def files_covered(build: Build) -> Verdict:
    """Every file of the commit is chunked or skipped with a reason."""
    files = build.read("files.parquet", ["path", "chunks", "skip_reason"]).to_pylist()
    listed = {row["path"] for row in files}
    missing = [entry.path for entry in build.tree if entry.path not in listed]
    unexplained = [row["path"] for row in files if not row["chunks"] and not row["skip_reason"]]
    wrong = missing + unexplained
    return Verdict(not wrong and len(files) == len(build.tree), {"files": len(files), "examples": wrong[:5]})


def vectors_follow_contract(build: Build) -> Verdict:
    """One vector per chunk (at most one while pending), of the contract's dimension, finite and of unit norm."""
    ids, vectors = read_vectors(build.read("embeddings.parquet"))
    chunks = build.read("chunks.parquet", ["chunk_id"])["chunk_id"].to_numpy()
    finite = bool(np.isfinite(vectors).all())
    deviation = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0)) if finite else float("inf")
    facts = {
        "contract_id": build.contract.contract_id,
        "vectors": len(ids),
        "finite": finite,
        "norm_deviation": round(deviation, 6) if finite else "inf",
    }
    right_ids = len(np.unique(ids)) == len(ids) and bool(np.isin(ids, chunks).all())
    complete = build.plan.embed is not Embed.ALL or build.plan.compact or len(ids) == len(chunks)
    return Verdict(
        right_ids
        and complete
        and finite
        and deviation <= _NORM_TOLERANCE
        and vectors.shape[1] == build.contract.dimension,
        facts,
    )


def dense_adds_up(build: Build) -> Verdict:
    """Primary minus tombstones plus secondary is exactly the set of chunks that have a vector."""
    folder = build.folder / "dense"
    primary, secondary = Shard.open(folder, PRIMARY).ids, Shard.open(folder, SECONDARY).ids
    tombstones = pq.read_table(folder / "tombstones.parquet")["chunk_id"].to_numpy()
    live = np.concatenate([np.setdiff1d(primary, tombstones), secondary])
    embedded = build.read("embeddings.parquet", ["chunk_id"])["chunk_id"].to_numpy()
    sizes = {"primary": primary, "secondary": secondary, "tombstones": tombstones, "embedded": embedded}
    return Verdict(np.array_equal(np.sort(live), np.sort(embedded)), {name: len(ids) for name, ids in sizes.items()})


def lucene_finds_identifiers(build: Build) -> Verdict:
    """As many documents as chunks, and a sample of symbols is found by its own name."""
    index = LexicalIndex(build.folder / "lucene")
    try:
        searcher = LexicalSearcher([index])
        chunks = build.read("chunks.parquet", ["chunk_id", "name", "parts"])
        once = chunks.filter(pc.and_(pc.greater(pc.utf8_length(chunks["name"]), 5), pc.equal(chunks["parts"], 1)))
        sample = once.sort_by("chunk_id").slice(0, _SAMPLE).to_pylist()
        found = 0
        for row in sample:
            terms = [(term, 1.0) for term in query_terms(row["name"])]
            ids, _ = searcher.search(terms, 100, Scope(), Deadline.after(10))
            found += row["chunk_id"] in ids
        facts = {"documents": index.count, "chunks": chunks.num_rows, "sample": len(sample), "found": found}
        enough = not sample or found / len(sample) >= _SELF_RETRIEVAL
        return Verdict(index.count == chunks.num_rows and enough, facts)
    finally:
        index.close()


def sparse_finds_itself(build: Build) -> Verdict:
    """As many documents as chunks, and a sample of chunks is found by its own impacts; no index is no failure."""
    facts = SparseFacts.model_validate(build.facts("splade_index")["sparse"])
    if not facts.is_there:
        return Verdict(True, {"skipped": facts.reason})
    folder = build.folder / FOLDER
    table = pq.read_table(folder / IMPACTS)
    index = LexicalIndex(folder / LUCENE)
    try:
        searcher = SparseSearcher([index])
        some = table.filter(pc.greater(pc.list_value_length(table["terms"]), 0)).sort_by("chunk_id").slice(0, _SAMPLE)
        found = 0
        for chunk_id, impacts in zip(some["chunk_id"].to_pylist(), read_impacts(some), strict=True):
            ids, _ = searcher.search(sparse_terms(impacts), 100, Scope(), Deadline.after(10))
            found += chunk_id in ids
        chunks = build.read("chunks.parquet", ["chunk_id"])["chunk_id"]
        same = sorted(chunks.to_pylist()) == sorted(table["chunk_id"].to_pylist())
        enough = not some.num_rows or found / some.num_rows >= _SELF_RETRIEVAL
        counts = {"documents": index.count, "chunks": len(chunks), "sample": some.num_rows, "found": found}
        return Verdict(same and index.count == len(chunks) and enough, counts)
    finally:
        index.close()


def catalog_adds_up(build: Build) -> Verdict:
    """The catalog hydrates a sample of chunks to the same text as chunks.parquet."""
    catalog = Catalog(build.folder / "catalog.duckdb")
    try:
        sample = build.read("chunks.parquet", ["chunk_id", "text"]).slice(0, 200).to_pylist()
        rows = catalog.hydrate([row["chunk_id"] for row in sample], Scope())
        wrong = [row["chunk_id"] for row in sample if rows[row["chunk_id"]].text != row["text"]]
        return Verdict(not wrong, {"sample": len(sample), "wrong": len(wrong)})
    finally:
        catalog.close()


def citations_match_source(generation: Generation) -> Verdict:
    """A sample of chunks equals, byte for byte, the pinned commit."""
    sample = generation.catalog.sample_definitions(_SAMPLE)
    wrong = [f"{c.path}:{c.start_line}" for c in sample if not generation.matches_source(c)]
    return Verdict(not wrong, {"sample": len(sample), "wrong": wrong[:5]})


# Blocking checks by the asset whose materialisation they follow.
CHECKS: dict[str, tuple[Callable[[Build], Verdict], ...]] = {
    "chunks": (unique_ids, spans_inside_files, files_covered),
    "embeddings": (vectors_follow_contract,),
    "faiss_secondary": (dense_adds_up,),
    "lucene_index": (lucene_finds_identifiers,),
    "splade_index": (sparse_finds_itself,),
    "catalog": (catalog_adds_up,),
}
