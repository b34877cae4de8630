"""Exact search of some positions of a FAISS index: their vectors are gathered as they are stored and searched alone.

A flat index keeps each vector in float16, and so does a refined one beside the codes of its lists. Decoding those with
NumPy, or one by one with `reconstruct`, takes ten times as long as FAISS's own scan of them: so the bytes of the asked
positions go into a small index of the same kind.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeintel_core.embedding.contract import Matrix

_ROWS = 4096  # gathered at once: 3 MB of 384 float16, and no more for a larger scope
_of_thread = threading.local()
Found = tuple[Matrix, NDArray[np.int64]]


class Gatherer:
    """Reads the vectors of one FAISS index where they lie, mapped or not; safe from several threads."""

    def __init__(self, index: Any, stored: Any) -> None:
        """`stored`: the part of `index` that holds its vectors: see `of`."""
        self._index = index  # the codes are its memory
        self._stored = stored
        self._codes = _codes(stored, index.ntotal)

    @classmethod
    def of(cls, index: Any) -> Gatherer | None:
        """The gatherer of an index that is not empty; None when it stores no float16, as older flat ones."""
        import faiss

        stored = faiss.downcast_index(index.refine_index) if isinstance(index, faiss.IndexRefine) else index
        is_float16 = isinstance(stored, faiss.IndexScalarQuantizer) and stored.sq.qtype == faiss.ScalarQuantizer.QT_fp16
        return cls(index, stored) if is_float16 else None

    def search(self, query: Matrix, k: int, positions: NDArray[np.int64]) -> Found:
        """The best `k` of the distinct positions: scores (float32) and positions, best first, ties as they were given.

        Args:
            query: float32 (1, dimension), unit norm.
            k: number of results, at most one for each position.
            positions: int64 (n,), each within the index.
        """
        blocks = range(0, len(positions), _ROWS)
        scores, found = zip(*(self._scan(query, k, positions[at : at + _ROWS]) for at in blocks), strict=True)
        if len(blocks) == 1:
            return scores[0], found[0]
        every = np.concatenate(scores)
        order = np.argsort(-every, kind="stable")[:k]
        return every[order], np.concatenate(found)[order]

    def _scan(self, query: Matrix, k: int, positions: NDArray[np.int64]) -> Found:
        index, codes = _block(self._stored)
        self._codes.take(positions, 0, out=codes[: len(positions)], mode="clip")  # "raise" copies once more
        index.ntotal = len(positions)
        scores, rows = _nearest(index, query, min(k, len(positions)))
        return scores, positions[rows]


def _block(like: Any) -> tuple[Any, NDArray[np.uint8]]:
    """This thread's small index of vectors such as those, and its codes to be filled: uint8 (_ROWS, code_size).

    One for all indexes that it searches: hundreds may be open.
    """
    import faiss

    kind = like.d, like.sq.qtype, like.metric_type, _ROWS
    if getattr(_of_thread, "kind", None) != kind:
        block = faiss.IndexScalarQuantizer(*kind[:-1])
        block.codes.resize(_ROWS * block.code_size)
        _of_thread.kind, _of_thread.block, _of_thread.codes = kind, block, _codes(block, _ROWS)
    return _of_thread.block, _of_thread.codes


def _codes(index: Any, rows: int) -> NDArray[np.uint8]:
    """The index's codes where they lie: uint8 (rows, code_size), valid as long as the index."""
    import faiss

    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.codes.size())
    return codes.reshape(rows, index.code_size)


def _nearest(index: Any, query: Matrix, k: int) -> Found:
    """FAISS's best `k`, where of equal scores the earlier rows count as better; its heap keeps any of them."""
    asked = min(k + 1, index.ntotal)
    scores, rows = index.search(query, asked)
    while asked < index.ntotal and scores[0, -1] == scores[0, k - 1]:  # the tie may go on beyond what was asked
        asked = min(2 * asked, index.ntotal)
        scores, rows = index.search(query, asked)
    order = np.lexsort((rows[0], -scores[0]))[:k]
    return scores[0, order], rows[0, order]
