"""Building the dense index: kind and parameters are chosen by size and then proved by measured recall."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core.embedding.contract import Matrix
from codeintel_core.indexes.dense import PRIMARY, SECONDARY, Ids, Operating, Shard

_SAMPLE_QUERIES = 200
_RECALL_AT = 10
_K_FACTORS = (4, 8, 16)
_ONE_LIST = 500_000
"""Up to so many vectors all codes are compared. A question lies far from what answers it (cosine .55), its nearest
lie in many lists: of 10,000 chunks in 51 lists 32 held .966 of the ten best, 40 held .984, and all .997."""
_TRAIN_PER_LIST = 64
_TRAIN_CODES = 4_096  # more train the codes no better, nor do more rounds than these; FAISS's 25 take two times as long
_ROUNDS = 10
_MIN_APPROXIMATE = 1_000  # too few vectors to train on are searched exactly, whatever the setting
_COMFORT = 0.99  # where more probes stop being worth their time
_FLAT = "SQfp16"
"""Every vector compared, its components as float16: half the memory to read. Cosines of unit vectors differ from those
of float32 by 2**-11 at most (rounding), by less than 1e-4 in 384 dimensions."""
TOMBSTONES = pa.schema([pa.field("chunk_id", pa.int64(), nullable=False)])


@dataclass(frozen=True, slots=True)
class PrimaryChoice:
    """The primary that was built and the measurements that justify it (kept in the manifest)."""

    kind: str  # FAISS factory string
    metric: str
    operating: Operating
    recall_at_10: float  # measured; 1.0 where every vector is compared
    curve: tuple[tuple[int, int, float], ...]  # (nprobe, k_factor, recall@10) on a sample of the vectors

    def as_parameters(self) -> dict[str, Any]:
        """Plain values for the manifest."""
        return asdict(self)


def build_primary(vectors: Matrix, ids: Ids, folder: Path, *, flat_max: int, min_recall: float) -> PrimaryChoice:
    """Train, fill and write the primary index.

    Args:
        vectors: float32 (n, dimension), unit norm.
        ids: int64 (n,), chunk id of each row.
        folder: the dense folder; `primary.faiss` and `primary_ids.npy` are written.
        flat_max: up to this many vectors the index is flat: every vector is compared.
        min_recall: recall@10 against exact search below which an approximate index is refused for a flat one.
    """
    index, choice = None, PrimaryChoice(_FLAT, "inner_product", Operating(), 1.0, ())
    if len(vectors) > max(flat_max, _MIN_APPROXIMATE):
        index, choice = _approximate(vectors, min_recall)
    Shard(_flat(vectors) if index is None else index, ids).write(folder, PRIMARY)
    return choice


def link_primary(parent: Path, folder: Path) -> None:
    """Hard-link the parent generation's primary, which never changes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (f"{PRIMARY}.faiss", f"{PRIMARY}_ids.npy"):
        os.link(parent / name, folder / name)


def write_secondary(vectors: Matrix, ids: Ids, tombstones: Ids, folder: Path) -> None:
    """Write the flat secondary (vectors that are not in the primary) and the primary ids that are gone."""
    Shard(_flat(vectors), ids).write(folder, SECONDARY)
    pq.write_table(pa.table({"chunk_id": tombstones}, schema=TOMBSTONES), folder / "tombstones.parquet")


def _flat(vectors: Matrix) -> Any:
    import faiss

    index = faiss.index_factory(vectors.shape[1], _FLAT, faiss.METRIC_INNER_PRODUCT)
    index.add(vectors)
    return index


def _approximate(vectors: Matrix, min_recall: float) -> tuple[Any, PrimaryChoice]:
    import faiss

    count, dimension = vectors.shape
    lists = 1 if count <= _ONE_LIST else int(math.sqrt(count) / 2)
    kind = f"IVF{lists},PQ{dimension // 2}x4fs,Refine(SQfp16)"
    random = np.random.default_rng(0)
    sample = vectors[random.permutation(count)[: max(lists * _TRAIN_PER_LIST, _TRAIN_CODES)]]
    index = faiss.index_factory(dimension, kind, faiss.METRIC_INNER_PRODUCT)
    faiss.downcast_index(index.base_index).pq.cp.niter = _ROUNDS
    faiss.omp_set_num_threads(os.cpu_count() or 1)
    index.train(sample)
    index.add(vectors)
    queries = vectors[random.permutation(count)[:_SAMPLE_QUERIES]]
    # Off the grid of stored vectors; questions of people lie farther off (see `_ONE_LIST`).
    queries = queries + random.normal(0, 0.3 / math.sqrt(dimension), queries.shape).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    exact = faiss.knn(queries, vectors, _RECALL_AT, metric=faiss.METRIC_INNER_PRODUCT)[1]
    shard = Shard(index, np.arange(count, dtype=np.int64))
    curve: list[tuple[int, int, float]] = []
    for at in _operating_points(lists):
        found = shard.search(queries, _RECALL_AT, None, at)[1]
        recall = float(np.mean([len(np.intersect1d(a, b)) / _RECALL_AT for a, b in zip(found, exact, strict=True)]))
        curve.append((at.nprobe, at.k_factor, round(recall, 4)))
        if recall >= _COMFORT:
            break
    nprobe, k_factor, recall = max(curve, key=lambda point: point[2])
    if recall < min_recall:
        return None, PrimaryChoice(_FLAT, "inner_product", Operating(), 1.0, tuple(curve))
    return index, PrimaryChoice(kind, "inner_product", Operating(nprobe, k_factor), recall, tuple(curve))


def _operating_points(lists: int) -> Iterator[Operating]:
    """What is tried, the cheaper first: lists cost more than candidates that are compared once more."""
    few = [nprobe for nprobe in (4, 8, 16, 32, 64, 128, 256, 512) if nprobe < lists]
    return (Operating(nprobe, k_factor) for nprobe in (*few, lists) for k_factor in _K_FACTORS)
