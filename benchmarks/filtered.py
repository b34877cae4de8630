"""Dense search within a scope of 1 % and 10 % of the vectors, beside both plain ways of doing it.

One way gathers the vectors of the scope and multiplies (exact), the other gives the whole index a selector; which is
faster depends on the share. All three are given chunk ids and find their positions by sorted ids first. The selector
gets the smallest operating point that finds as many of the best in the scope as ours: lists that are enough for the
whole index are too few within a scope. Ten are wanted, and 200, which is what fusion takes. Times are of CPU, in turns.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dense import clustered
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core.embedding.contract import Matrix
from codeintel_core.indexes import dense_build
from codeintel_core.indexes.dense import PRIMARY, DenseIndex, Ids, Operating

_WANTED, _QUERIES, _SHARES = (10, 200), 100, (0.01, 0.1)
_SAME_RECALL = 0.002
Find = Callable[[Matrix, Ids, int], Ids]
"""From a query, the sorted chunk ids of a scope and how many are wanted to the ids that were found."""


def measure(at: Workplace) -> Rows:
    """Every size up to 100,000."""
    for size in at.sizes:
        if size <= 100_000:
            yield from _at_size(size)


def _at_size(size: int) -> Rows:
    vectors, queries = clustered(size)
    queries = queries[:_QUERIES]
    ids = np.sort(np.random.default_rng(7).choice(1 << 62, size, replace=False))  # hashes, as those of chunks
    nothing = np.empty(0, np.int64)
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / "dense"
        choice = dense_build.build_primary(vectors, ids, dense, flat_max=10_000, min_recall=0.95)
        dense_build.write_secondary(vectors[:0], nothing, nothing, dense)
        index, gather, selector = DenseIndex.open(dense, choice.operating), Gather(vectors, ids), Selector(dense, ids)
        for share in _SHARES:
            scope = np.sort(np.random.default_rng(1).choice(size, int(share * size), replace=False))
            for wanted in _WANTED:
                truth = _exact(vectors, queries, scope, wanted)
                asked = [(query, ids[scope], wanted) for query in queries]

                def recall(find: Find, asked: Any = asked, truth: list[Ids] = truth) -> float:
                    found = [np.isin(ids[best], find(*one)).mean() for one, best in zip(asked, truth, strict=True)]
                    return float(np.mean(found))

                ours: Find = partial(_ours, index)
                mine = recall(ours)
                at, selected = selector.tuned(recall, mine)
                times = _in_turns((ours, gather.find, partial(selector.find, at)), asked)
                peer = f"gather + dot {times[1]:.3f}, selector {times[2]:.3f}"
                lists = f" with nprobe {at.nprobe}, k_factor {at.k_factor}" if at.nprobe else ""
                note = f"recall {mine:.4f}; gather 1, selector {selected:.4f}{lists}"
                measure = f"{share:.0%} of them, {wanted} wanted"
                ratio = min(times[1:]) / times[0]
                yield Row(f"scope, {size:,} vectors", measure, times[0], "CPU-ms p50", peer, ratio, note)


class LookUp:
    """Where ids are. Each peer has its own: none finds it in the cache because the other has just used it."""

    def __init__(self, ids: Ids) -> None:
        self.ids, self._order = ids.copy(), np.argsort(ids)
        self._sorted = ids[self._order]

    def __call__(self, wanted: Ids) -> Ids:
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        found: Ids = self._order[at[self._sorted[at] == wanted]]
        return found


class Gather:
    """Exact, over the vectors as they were given: float32."""

    def __init__(self, vectors: Matrix, ids: Ids) -> None:
        self._vectors, self._look_up = vectors, LookUp(ids)

    def find(self, query: Matrix, allowed: Ids, wanted: int) -> Ids:
        scope = self._look_up(allowed)
        scores = self._vectors[scope] @ query
        best = np.argpartition(-scores, wanted)[:wanted] if wanted < len(scope) else np.arange(len(scope))
        found: Ids = self._look_up.ids[scope[best[np.argsort(-scores[best])]]]
        return found


class Selector:
    """The whole index with a selector."""

    def __init__(self, dense: Path, ids: Ids) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._index, self._look_up = faiss.read_index(str(dense / f"{PRIMARY}.faiss")), LookUp(ids)
        lists = faiss.try_extract_index_ivf(self._index)
        self._lists = 0 if lists is None else int(lists.nlist)

    def find(self, at: Operating, query: Matrix, allowed: Ids, wanted: int) -> Ids:
        import faiss

        keep = np.zeros(len(self._look_up.ids), bool)
        keep[self._look_up(allowed)] = True
        bits = np.packbits(keep, bitorder="little")  # the selector reads these bits where they are
        params = _parameters(faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)), at)
        positions = self._index.search(query.reshape(1, -1), wanted, params=params)[1][0]
        found: Ids = self._look_up.ids[positions[positions >= 0]]
        return found

    def tuned(self, recall: Callable[[Find], float], wanted: float) -> tuple[Operating, float]:
        """The smallest operating point that has this recall, or the widest; and what it has."""
        if not self._lists:
            return Operating(), recall(partial(self.find, Operating()))
        for nprobe in (*(n for n in (16, 32, 64, 96, 128, 256) if n < self._lists), self._lists):
            for k_factor in (2, 4, 8):
                found = recall(partial(self.find, Operating(nprobe, k_factor)))
                if found >= wanted - _SAME_RECALL:
                    return Operating(nprobe, k_factor), found
        return Operating(self._lists, 8), found


def _ours(index: DenseIndex, query: Matrix, allowed: Ids, wanted: int) -> Ids:
    return index.search(query, wanted, allowed)[0]


def _in_turns(finds: Sequence[Find], asked: Sequence[tuple[Matrix, Ids, int]]) -> list[float]:
    """Median milliseconds of CPU of each."""
    taken: list[list[float]] = [[] for _ in finds]
    for one in asked:
        for times, find in zip(taken, finds, strict=True):
            started = time.thread_time()
            find(*one)
            times.append(time.thread_time() - started)
    return [percentiles(times)[0] for times in taken]


def _exact(vectors: Matrix, queries: Matrix, scope: Ids, wanted: int) -> list[Ids]:
    """Positions of the best of the scope for each query."""
    scores = queries @ vectors[scope].T
    best = np.argsort(-scores, axis=1)[:, :wanted]
    return [scope[row] for row in best]


def _parameters(selector: Any, at: Operating) -> Any:
    import faiss

    if not at.nprobe:
        return faiss.SearchParameters(sel=selector)
    inner = faiss.SearchParametersIVF(nprobe=at.nprobe, sel=selector)
    return faiss.IndexRefineSearchParameters(k_factor=at.k_factor, base_index_params=inner)
