"""Vectors of queries, kept: the same question asked again costs no model."""

from __future__ import annotations

from collections.abc import Sequence

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import EmbeddingContract, Encoder, Matrix
from codeintel_core.memo import Memo

_WAIT_S = 10.0


class CachedQueries:
    """An `Encoder` that keeps the newest query vectors of another; documents pass through."""

    def __init__(self, encoder: Encoder, entries: int) -> None:
        self._encoder = encoder
        self._memo: Memo[tuple[str, str], Matrix] = Memo("query_vectors", entries)

    @property
    def contract(self) -> EmbeddingContract:
        """The contract of every vector this encoder returns."""
        return self._encoder.contract

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of documents, not kept."""
        return self._encoder.encode_documents(texts)

    def encode_query(self, text: str) -> Matrix:
        """Vector of shape (dimension,), float32, unit norm, read-only."""

        def compute() -> Matrix:
            vector = self._encoder.encode_query(text)
            vector.setflags(write=False)
            return vector

        key = (self.contract.contract_id, text)
        return self._memo.get(key, compute, Deadline.after(_WAIT_S))[0]

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return self._encoder.count_tokens(texts)
