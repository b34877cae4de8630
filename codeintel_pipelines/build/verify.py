"""Invariants of staged artefacts; the asset checks report them, and a violated one stops the build."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from codeintel_core import schemas
from codeintel_core.analysis import query_terms
from codeintel_core.catalog import FILE_NAME, Catalog, ChunkRow
from codeintel_core.deadline import Deadline
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import SparseFacts
from codeintel_core.indexes.dense import PRIMARY, SECONDARY, Ids, Shard
from codeintel_core.indexes.lexical import LexicalIndex, LexicalSearcher
from codeintel_core.indexes.sparse import SparseSearcher
from codeintel_core.indexes.sparse import query_terms as sparse_terms
from codeintel_core.scope import Scope
from codeintel_pipelines.build import parts
from codeintel_pipelines.build.plan import Build, Embed
from codeintel_pipelines.build.sparse import FOLDER, IMPACTS, LUCENE, read_impacts
from codeintel_pipelines.build.vectors import read_vectors

_SAMPLE = 25
_SAMPLE_PARTS = 8  # of 64 chunks or more on average
_NO_IDS: Ids = np.empty(0, np.int64)
_NORM_TOLERANCE = 1e-3
_SELF_RETRIEVAL = 0.9


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of one check and the numbers behind it."""

    passed: bool
    facts: dict[str, Any]


def unique_ids(build: Build) -> Verdict:
    """Every chunk id occurs once: in the parts that were written, and no new one among the files taken over."""
    now, before = build.replaced("chunks.parquet", ["chunk_id"])
    ids = now["chunk_id"].to_numpy()
    twice = len(ids) - len(np.unique(ids))
    if build.parent_folder:
        new = np.setdiff1d(ids, before["chunk_id"].to_numpy())
        with closing(Catalog(build.parent_folder / FILE_NAME)) as catalog:
            elsewhere = catalog.paths(new.tolist())
        twice += sum(path in build.changes.unchanged for path in elsewhere.values())
    return Verdict(not twice, {"chunks": build.facts("chunks")["chunks"], "twice": twice})


def spans_inside_files(build: Build) -> Verdict:
    """Every span that was written lies inside its file."""
    files = build.read("files.parquet", ["path", "size_bytes", "lines"])
    outside: list[str] = []
    for part in _written(build, "chunks.parquet"):
        rows = pq.read_table(part, columns=["path", "start_byte", "end_byte", "start_line", "end_line"])
        mine = files.take(pc.index_in(rows["path"], value_set=files["path"]))
        start_byte, end_byte, size = (column.to_numpy() for column in (*rows.columns[1:3], mine["size_bytes"]))
        start_line, end_line, lines = (column.to_numpy() for column in (*rows.columns[3:], mine["lines"]))
        right = (start_byte >= 0) & (start_byte < end_byte) & (end_byte <= size)
        right &= (start_line >= 1) & (start_line <= end_line) & (end_line <= lines)
        outside += rows["path"].filter(pa.array(~right)).to_pylist()
    return Verdict(not outside, {"outside": len(outside), "examples": outside[:5]})


def files_covered(build: Build) -> Verdict:
    """Every file of the commit is chunked or skipped with a reason, and no chunk of a file got lost."""
    files = build.read("files.parquet", ["path", "chunks", "skip_reason"])
    listed = set(files["path"].to_pylist())
    missing = [entry.path for entry in build.tree if entry.path not in listed]
    without = pc.and_(pc.equal(files["chunks"], 0), pc.equal(files["skip_reason"], ""))
    wrong = missing + files.filter(without)["path"].to_pylist()
    is_whole = pc.sum(files["chunks"]).as_py() == build.facts("chunks")["chunks"]
    covered = not wrong and files.num_rows == len(build.tree) and is_whole
    return Verdict(covered, {"files": files.num_rows, "examples": wrong[:5]})


def vectors_follow_contract(build: Build) -> Verdict:
    """One vector per chunk (at most one while pending), of the contract's dimension, finite and of unit norm."""
    found, known, dimensions = [_NO_IDS], [_NO_IDS], set()
    finite, deviation = True, 0.0
    for part in _written(build, "embeddings.parquet"):
        ids, vectors = read_vectors(pq.read_table(part))
        found.append(ids)
        known.append(pq.read_table(build.folder / "chunks.parquet" / part.name, columns=["chunk_id"])["chunk_id"])
        dimensions.add(vectors.shape[1])
        finite = finite and bool(np.isfinite(vectors).all())
        if finite:
            deviation = max(deviation, float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max(initial=0)))
    ids, chunk_ids = np.concatenate(found), np.concatenate(known)
    facts = {
        "contract_id": build.contract.contract_id,
        "vectors": len(ids),
        "finite": finite,
        "norm_deviation": round(deviation, 6) if finite else "inf",
    }
    right_ids = len(np.unique(ids)) == len(ids) and bool(np.isin(ids, chunk_ids).all())
    complete = build.plan.embed is not Embed.ALL or build.plan.compact or len(ids) == len(chunk_ids)
    right_vectors = finite and deviation <= _NORM_TOLERANCE and dimensions <= {build.contract.dimension}
    return Verdict(right_ids and complete and right_vectors, facts)


def dense_adds_up(build: Build) -> Verdict:
    """Primary minus tombstones plus secondary is exactly the set of chunks that have a vector.

    Of the parts that are the parent's, for which that was shown, only the number is compared.
    """
    folder = build.folder / "dense"
    primary, secondary = Shard.open(folder, PRIMARY).ids, Shard.open(folder, SECONDARY).ids
    tombstones = pq.read_table(folder / "tombstones.parquet")["chunk_id"].to_numpy()
    live = np.sort(np.concatenate([primary[~np.isin(primary, tombstones)], secondary]))
    now, before = (table["chunk_id"].to_numpy() for table in build.replaced("embeddings.parquet", ["chunk_id"]))
    parent = build.parent_manifest
    embedded = len(now) - len(before) + (parent.counts.embedded if parent else 0)
    right = len(live) == embedded and bool((live[1:] != live[:-1]).all())
    right = right and bool(_among(now, live).all()) and not _among(np.setdiff1d(before, now), live).any()
    sizes = {"primary": len(primary), "secondary": len(secondary), "tombstones": len(tombstones)}
    return Verdict(right, {**sizes, "embedded": embedded})


def _among(ids: Ids, ordered: Ids) -> NDArray[np.bool_]:
    """Which ids are among the sorted ones: of a million, sorting both takes longer than the rest of a small build."""
    at = np.searchsorted(ordered, ids)
    found = at < len(ordered)
    found[found] = ordered[at[found]] == ids[found]
    return found


def lucene_finds_identifiers(build: Build) -> Verdict:
    """As many documents as chunks, and a sample of symbols of the parts that were written is found by its own name."""
    index = LexicalIndex(build.folder / "lucene")
    try:
        searcher = LexicalSearcher([index])
        chunks = _sample(build, ["chunk_id", "name", "parts"])
        once = chunks.filter(pc.and_(pc.greater(pc.utf8_length(chunks["name"]), 5), pc.equal(chunks["parts"], 1)))
        sample = once.sort_by("chunk_id").slice(0, _SAMPLE).to_pylist()
        found = 0
        for row in sample:
            terms = [(term, 1.0) for term in query_terms(row["name"])]
            ids, _ = searcher.search(terms, 100, Scope(), Deadline.after(10))
            found += row["chunk_id"] in ids
        total = build.facts("chunks")["chunks"]
        facts = {"documents": index.count, "chunks": total, "sample": len(sample), "found": found}
        enough = not sample or found / len(sample) >= _SELF_RETRIEVAL
        return Verdict(index.count == total and enough, facts)
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
    """The catalog holds as many chunks as there are, and hydrates a sample of them to their text."""
    with closing(Catalog(build.folder / FILE_NAME)) as catalog:
        sample = _sample(build, ["chunk_id", "path", "text", "start_line"]).slice(0, 200).to_pylist()
        rows = catalog.hydrate([row["chunk_id"] for row in sample], Scope())
        wrong = [row["chunk_id"] for row in sample if not _is_row(row, rows.get(row["chunk_id"]))]
        right = not wrong and catalog.count() == build.facts("chunks")["chunks"]
        return Verdict(right, {"sample": len(sample), "wrong": len(wrong), "chunks": catalog.count()})


def _is_row(row: dict[str, Any], found: ChunkRow | None) -> bool:
    return found is not None and all(getattr(found, column) == value for column, value in row.items())


def _written(build: Build, name: str) -> list[Path]:
    """Parts of a table that this build wrote."""
    mine = build.folder / name
    theirs = build.parent_folder / name if build.parent_folder else None
    return parts.replaced(mine, theirs)[0] if theirs else parts.files(mine)


def _sample(build: Build, columns: list[str]) -> pa.Table:
    """Chunks to try: of parts that were written, and of others where those are few."""
    every = chain(_written(build, "chunks.parquet"), parts.files(build.folder / "chunks.parquet"))
    some = islice((part for part in every if pq.read_metadata(part).num_rows), _SAMPLE_PARTS)
    return parts.read([*dict.fromkeys(some)], columns, schemas.CHUNKS)


def citations_match_source(generation: Generation, sample: Sequence[ChunkRow]) -> Verdict:
    """A sample of chunks equals, byte for byte, the pinned commit."""
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
