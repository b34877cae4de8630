"""The embedding contract: the single truth about what produced a vector. Two contracts are never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from codeintel_core import identity
from codeintel_core.errors import ContractMismatch

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingContract:
    """Everything that decides the value of a vector."""

    model: str
    revision: str  # weight digest or model revision
    dimension: int
    precision: str  # int8, fp32 …
    pooling: str
    normalized: bool
    query_prefix: str
    document_prefix: str
    max_tokens: int
    text_version: int  # version of `embedded_text`

    @property
    def contract_id(self) -> str:
        """Hash of all fields: folder of the vector cache and guard against mixing."""
        return identity.contract_id(f"{name}={value}" for name, value in asdict(self).items())

    def require_same(self, other: EmbeddingContract, where: str) -> None:
        """Raise `ContractMismatch`, naming the first field that differs."""
        for name, value in asdict(self).items():
            theirs = getattr(other, name)
            if value != theirs:
                raise ContractMismatch(
                    f"{where}: embedding contract differs in {name} ({theirs!r}, expected {value!r}); rebuild the index"
                )


class Encoder(Protocol):
    """Turns texts into unit vectors under one contract."""

    @property
    def contract(self) -> EmbeddingContract:
        """The contract of every vector this encoder returns."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of shape (len(texts), dimension), float32, unit norm, in the order given."""
        ...

    def encode_query(self, text: str) -> Matrix:
        """Vector of shape (dimension,), float32, unit norm."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation."""
        ...
