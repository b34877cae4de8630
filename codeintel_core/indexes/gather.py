"""Exact search of some positions of a refined FAISS index: their vectors are gathered as stored and searched alone.

A refined index keeps, beside the codes of its lists, each vector in float16. Decoding those with NumPy, or one by one
with `reconstruct`, takes ten times as long as FAISS's own scan of them: so the bytes of the asked positions go into a
small index of the same kind.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeintel_core.embedding.contract import Matrix

_ROWS = 4096  # gathered at once: 3 MB of 384 float16, and no more for a larger scope


class Gatherer:
    """Reads the vectors of one FAISS index where they lie, mapped or not; safe from several threads."""

    def __init__(self, index: Any) -> None:
        """`index`: an `IndexRefine` over an `IndexScalarQuantizer` that needs no training, not empty."""
        import faiss

        self._index = index  # the codes are its memory
        self._stored = faiss.downcast_index(index.refine_index)
        self._codes = _codes(self._stored)

    def search(self, query: Matrix, k: int, positions: NDArray[np.int64]) -> tuple[Matrix, NDArray[np.int64]]:
        """The best `k` of the distinct positions: scores (float32) and positions, best first, ties as they were given.

        Args:
            query: float32 (1, dimension), unit norm.
            k: number of results, at most one for each position.
            positions: int64 (n,), each within the index.
        """
        import faiss

        kept = self._stored
        scores, found = [], []
        for first in range(0, len(positions), _ROWS):
            some = positions[first : first + _ROWS]
            block = faiss.IndexScalarQuantizer(kept.d, kept.sq.qtype, kept.metric_type)
            block.codes.resize(len(some) * block.code_size)
            block.ntotal = len(some)
            self._codes.take(some, 0, out=_codes(block), mode="clip")  # "raise" copies once more
            best, rows = _nearest(block, query, min(k, len(some)))
            scores.append(best)
            found.append(some[rows])
        if len(scores) == 1:
            return scores[0], found[0]
        every = np.concatenate(scores)
        order = np.argsort(-every, kind="stable")[:k]
        return every[order], np.concatenate(found)[order]


def _codes(index: Any) -> NDArray[np.uint8]:
    """The index's codes where they lie: uint8 (ntotal, code_size), valid as long as the index."""
    import faiss

    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.codes.size())
    return codes.reshape(index.ntotal, index.code_size)


def _nearest(index: Any, query: Matrix, k: int) -> tuple[Matrix, NDArray[np.int64]]:
    """FAISS's best `k`, where of equal scores the earlier rows count as better; its heap keeps any of them."""
    asked = min(k + 1, index.ntotal)
    scores, rows = index.search(query, asked)
    while asked < index.ntotal and scores[0, -1] == scores[0, k - 1]:  # the tie may go on beyond what was asked
        asked = min(2 * asked, index.ntotal)
        scores, rows = index.search(query, asked)
    order = np.lexsort((rows[0], -scores[0]))[:k]
    return scores[0, order], rows[0, order]
