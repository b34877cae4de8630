"""A deterministic encoder that costs nothing: for what is measured or drilled beside the embedding, never for quality.

It stands in for `LocalEncoder` at its boundary (texts in, unit vectors of the same contract out), so that a build of
100,000 chunks takes minutes instead of hours and a fault drill spends its time on faults.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np

from codeintel_core.analysis import terms
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.embedding.local import DIMENSION, local_contract
from codeintel_core.embedding.onnx_bert import Precision

_PLACES = 4  # coordinates that a term adds to


class FakeEncoder:
    """Feature hashing: each term adds to four coordinates, so that equal words make near vectors."""

    def __init__(self, _models: Path | None = None, precision: Precision = "int8", *_: int) -> None:
        """Takes what `LocalEncoder` takes and loads nothing."""
        self.contract: EmbeddingContract = local_contract(precision)

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of shape (len(texts), 384), float32, unit norm."""
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        for row, text in enumerate(texts):
            hashed = np.array([zlib.crc32(term.encode()) for term in terms(text)] or [0], np.uint64)
            for place in range(_PLACES):
                mixed = (hashed * np.uint64(0x9E3779B97F4A7C15 + 2 * place)) >> np.uint64(20)
                np.add.at(vectors[row], mixed % np.uint64(DIMENSION), np.where(mixed >> np.uint64(40) & 1, 1.0, -1.0))
            vectors[row, 0] += 0.5  # never all zero
        normed: Matrix = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return normed

    def encode_query(self, text: str) -> Matrix:
        """Vector of shape (384,)."""
        vector: Matrix = self.encode_documents([text])[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Terms of each text."""
        return [len(list(terms(text))) for text in texts]


@contextmanager
def used_by_builds() -> Iterator[None]:
    """Builds inside the block embed with the fake encoder."""
    with mock.patch("codeintel_core.embedding.select.LocalEncoder", FakeEncoder):
        yield
