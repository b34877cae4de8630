"""Dense search within a scope of 1 % and 10 % of the vectors, beside both plain ways of doing it.

One way gathers the vectors of the scope and multiplies (exact), the other gives the whole index a selector; which is
faster depends on the share. Ours gets chunk ids and has to find their positions first; the peers are given positions.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dense import clustered
from benchmarks.rows import Row, Rows, percentiles, seconds
from benchmarks.workplace import Workplace
from codeintel_core.embedding.contract import Matrix
from codeintel_core.indexes import dense_build
from codeintel_core.indexes.dense import PRIMARY, DenseIndex, Ids, Operating

_TOP, _QUERIES, _SHARES = 10, 100, (0.01, 0.1)


def measure(at: Workplace) -> Rows:
    """Every size up to 100,000."""
    for size in at.sizes:
        if size <= 100_000:
            yield from _at_size(size)


def _at_size(size: int) -> Rows:
    import faiss

    vectors, queries = clustered(size)
    ids = np.arange(size, dtype=np.int64) * 7 + 3
    nothing = np.empty(0, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / "dense"
        choice = dense_build.build_primary(vectors, ids, dense, flat_max=10_000, min_recall=0.95)
        dense_build.write_secondary(vectors[:0], nothing, nothing, dense)
        ours, bare = DenseIndex.open(dense, choice.operating), faiss.read_index(str(dense / f"{PRIMARY}.faiss"))
        faiss.omp_set_num_threads(1)
        for share in _SHARES:
            scope = np.sort(np.random.default_rng(1).choice(size, int(share * size), replace=False))
            keep = np.zeros(size, bool)
            keep[scope] = True
            bits = np.packbits(keep, bitorder="little")  # the selector reads these bits where they are
            params = _parameters(faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), choice.operating)
            taken: tuple[list[float], ...] = ([], [], [])
            for query in queries[:_QUERIES]:
                works: tuple[Callable[[], object], ...] = (
                    partial(ours.search, query, _TOP, ids[scope]),
                    partial(_gather, vectors, scope, query),
                    partial(bare.search, query.reshape(1, -1), _TOP, params=params),
                )
                for times, work in zip(taken, works, strict=True):
                    times.append(seconds(work))
            mine, gathered, selected = (percentiles(times)[0] for times in taken)
            peer = f"gather + dot {gathered:.3f}, selector {selected:.3f}"
            better = min(gathered, selected)
            yield Row(f"scope, {size:,} vectors", f"{share:.0%} of them", mine, "ms p50", peer, better / mine)


def _gather(vectors: Matrix, scope: Ids, query: Matrix) -> Ids:
    scores = vectors[scope] @ query
    best = np.argpartition(-scores, _TOP)[:_TOP]
    return scope[best[np.argsort(-scores[best])]]


def _parameters(selector: Any, at: Operating) -> Any:
    import faiss

    if not at.nprobe:
        return faiss.SearchParameters(sel=selector)
    inner = faiss.SearchParametersIVF(nprobe=at.nprobe, sel=selector)
    return faiss.IndexRefineSearchParameters(k_factor=at.k_factor, base_index_params=inner) if at.k_factor else inner
