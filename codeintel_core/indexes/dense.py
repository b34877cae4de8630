"""The dual dense index: a trained, immutable primary, a flat secondary for what came later, and tombstones.

A search asks both and merges by chunk id, best score wins. Scores are cosines: vectors have unit norm and the
metric is the inner product.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeintel_core.embedding.contract import Matrix
from codeintel_core.errors import ContractMismatch, GenerationCorrupt
from codeintel_core.indexes import gpu, ids_file
from codeintel_core.indexes.gather import Gatherer
from codeintel_core.telemetry import step

Ids = NDArray[np.int64]
_GATHER_SHARE = 0.06  # of positions: up to here gathering them is faster than a selector
PRIMARY, SECONDARY = "primary", "secondary"


@dataclass(frozen=True, slots=True)
class Operating:
    """Search-time parameters of an approximate index (0 = not used)."""

    nprobe: int = 0
    k_factor: int = 0


class Shard:
    """One FAISS index and the chunk id of each of its positions."""

    def __init__(self, index: Any, ids: Ids) -> None:
        if index.ntotal != len(ids):
            raise GenerationCorrupt(f"a dense index holds {index.ntotal} vectors but {len(ids)} ids")
        self._index = index
        self.ids = np.asarray(ids)  # a memmap is slower to index than the plain array over the same pages
        self.device = gpu.Device("cpu")
        self._clone: gpu.GpuClone | None = None

    @cached_property
    def _by_id(self) -> tuple[Ids, Ids]:
        """The ids sorted, and the position of each; made once, by the first search within a scope."""
        order = np.argsort(self.ids)
        return self.ids[order], order

    @cached_property
    def _gatherer(self) -> Gatherer | None:
        return Gatherer.of(self._index)

    def _positions(self, ids: Ids) -> Ids:
        """Where these ids are, by rising id; without those that are not here. Costs follow `ids`, not the index."""
        known, order = self._by_id
        if not len(known):
            return np.empty(0, np.int64)
        wanted = np.sort(ids, kind="stable")  # quick when they are sorted; neighbours are looked up in the same memory
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        found: Ids = order[at[known[at] == wanted]]
        return found

    @classmethod
    def open(cls, folder: Path, name: str, device: gpu.Wanted = "cpu") -> Shard:
        """Open `<name>.faiss` and `<name>_ids.npy`, memory-mapped, and clone the index to a GPU when asked to."""
        import faiss

        index = faiss.read_index(str(folder / f"{name}.faiss"), faiss.IO_FLAG_MMAP_IFC)
        shard = cls(index, ids_file.mapped(folder / f"{name}_ids.npy"))
        shard._clone, shard.device = gpu.clone(index, device)
        return shard

    def write(self, folder: Path, name: str) -> None:
        """Write both files."""
        import faiss

        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(folder / f"{name}.faiss"))
        np.save(folder / f"{name}_ids.npy", self.ids, allow_pickle=False)

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        return int(self._index.d)

    @cached_property
    def _lists(self) -> int:
        """How many inverted lists the index has, 0 when it is flat."""
        import faiss

        inverted = faiss.try_extract_index_ivf(self._index)
        return 0 if inverted is None else int(inverted.nlist)

    def vectors(self, positions: Ids | None = None) -> Matrix:
        """Vectors at some positions or all, float32 (rows, dimension); of a refined index as it stores them."""
        if positions is None:
            positions = np.arange(len(self.ids), dtype=np.int64)
        if not len(positions):
            return np.empty((0, self.dimension), np.float32)
        found: Matrix = self._index.reconstruct_batch(positions)
        return found

    def search(self, queries: Matrix, k: int, keep: NDArray[np.bool_] | None, at: Operating) -> tuple[Matrix, Ids]:
        """Scores and chunk ids, both (len(queries), k), best first; missing results have id -1.

        Args:
            queries: float32 (n, dimension), unit norm.
            k: results per query.
            keep: bool (ntotal,), which positions may be returned; None means all.
            at: operating point of an approximate index.
        """
        import faiss

        kept = len(self.ids) if keep is None else int(np.count_nonzero(keep))
        k = min(k, kept)
        if k == 0:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        _one_thread()
        selector = None
        if keep is not None:
            if kept < len(self.ids) / 2:  # a scope, not tombstones alone
                at = self._scoped(at)
            bits = np.packbits(keep, bitorder="little")
            selector = faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits))
        parameters = _parameters(selector, at) if selector is not None else _usual_parameters(at)
        if self._clone is not None and selector is None:  # GPU indexes take no selectors
            scores, positions = self._clone.search(queries, k, parameters)
        else:
            scores, positions = self._index.search(queries, k, params=parameters)
        found = np.where(positions >= 0, self.ids[np.maximum(positions, 0)], -1)
        return scores, found

    def search_within(
        self, query: Matrix, k: int, allowed: Ids | None, alive: NDArray[np.bool_] | None, at: Operating
    ) -> tuple[Matrix, Ids]:
        """`search` for one query, float32 (1, dimension), among some chunk ids: exact when they are few.

        Args:
            query, k, at: as in `search`.
            allowed: int64, distinct, which ids may be returned; None means all.
            alive: bool (ntotal,), which positions may be returned; None means all.
        """
        if allowed is None:
            return self.search(query, k, alive, at)
        positions = self._positions(allowed)
        if alive is not None:
            positions = positions[alive[positions]]
        if 0 < len(positions) <= _GATHER_SHARE * len(self.ids) and (gatherer := self._gatherer):
            _one_thread()
            scores, positions = gatherer.search(query, min(k, len(positions)), positions)
            return scores.reshape(1, -1), self.ids[positions].reshape(1, -1)
        keep = np.zeros(len(self.ids), bool)
        keep[positions] = True
        return self.search(query, k, keep, at)

    def _scoped(self, at: Operating) -> Operating:
        """The operating point within a scope: what a scope holds may lie in lists far from the query.

        Of 100,000 vectors, 10 % allowed, 200 wanted: recall .989 as without a scope, .9999 like this.
        """
        return Operating(self._lists, at.k_factor)


def _one_thread() -> None:
    """FAISS's setting is per thread; our pools bring the parallelism."""
    import faiss

    faiss.omp_set_num_threads(1)


def _parameters(selector: Any, at: Operating) -> Any:
    import faiss

    if not at.nprobe:
        return faiss.SearchParameters(sel=selector) if selector is not None else None
    inner = faiss.SearchParametersIVF(nprobe=at.nprobe, sel=selector)
    if not at.k_factor:
        return inner
    return faiss.IndexRefineSearchParameters(k_factor=at.k_factor, base_index_params=inner)


@lru_cache(64)
def _usual_parameters(at: Operating) -> Any:
    """Those of nearly every search, made once (11 us): FAISS only reads them."""
    return _parameters(None, at)


class DenseIndex:
    """Primary, secondary and tombstones of one generation; safe from several threads."""

    def __init__(self, primary: Shard, secondary: Shard, tombstones: Ids, at: Operating) -> None:
        if primary.dimension != secondary.dimension:
            raise ContractMismatch(
                f"primary has dimension {primary.dimension}, secondary {secondary.dimension}; rebuild the index"
            )
        self.primary, self.secondary, self.tombstones, self._at = primary, secondary, tombstones, at
        device = primary.device
        self._facts = {"vectors": len(primary.ids), "device": device.name, "device_reason": device.reason}
        self._alive = ~np.isin(primary.ids, tombstones) if len(tombstones) else None

    @classmethod
    def open(cls, folder: Path, at: Operating, device: gpu.Wanted = "cpu") -> DenseIndex:
        """Open the dense folder of a generation; `device` is where the primary is searched."""
        import pyarrow.parquet as pq

        tombstones = pq.read_table(folder / "tombstones.parquet")["chunk_id"].to_numpy()
        return cls(Shard.open(folder, PRIMARY, device), Shard.open(folder, SECONDARY), tombstones, at)

    @property
    def count(self) -> int:
        """Number of live vectors."""
        return len(self.primary.ids) - len(self.tombstones) + len(self.secondary.ids)

    def search(
        self, query: Matrix, k: int, allowed: Ids | None = None, *, is_recorded: bool = False
    ) -> tuple[Ids, Matrix]:
        """The best `k` chunks: ids (int64) and cosines (float32), best first.

        Args:
            query: float32 (dimension,), unit norm.
            k: number of results.
            allowed: chunk ids the scope lets through (distinct, any order); None means all.
            is_recorded: make the search of each index a step.
        """
        rows = query.reshape(1, -1)
        with step("faiss.primary", **self._facts) if is_recorded else nullcontext():
            scores_a, ids_a = self.primary.search_within(rows, k, allowed, self._alive, self._at)
        if len(self.secondary.ids) == 0:
            return merge(ids_a[0], scores_a[0], k)
        with step("faiss.secondary", vectors=len(self.secondary.ids)) if is_recorded else nullcontext():
            scores_b, ids_b = self.secondary.search_within(rows, k, allowed, None, Operating())
        return merge(np.concatenate([ids_a[0], ids_b[0]]), np.concatenate([scores_a[0], scores_b[0]]), k)


def merge(ids: Ids, scores: Matrix, k: int) -> tuple[Ids, Matrix]:
    """The best `k` of several result lists: one entry per id with its best score; ties go to the smaller id."""
    valid = ids >= 0
    ids, scores = ids[valid], scores[valid]
    order = np.lexsort((ids, -scores))
    ids, scores = ids[order], scores[order]
    _, first = np.unique(ids, return_index=True)
    first.sort()
    return ids[first][:k], scores[first][:k]
