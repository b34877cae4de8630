"""Contracts: the single truth about what produced a vector. Two contracts are never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from codeintel_core import identity
from codeintel_core.errors import ContractMismatch

Matrix = NDArray[np.float32]


class Contract:
    """What contracts of every kind can do; a kind is a frozen dataclass of plain fields."""

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def fields(self) -> dict[str, Any]:
        """Every field by name."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @property
    def contract_id(self) -> str:
        """Hash of all fields: folder of the cache and guard against mixing."""
        return _id(self)

    def require_same(self, other: Contract, where: str) -> None:
        """Raise `ContractMismatch`, naming the first field that differs."""
        theirs = other.fields
        for name, value in self.fields.items():
            if value != theirs.get(name):
                raise ContractMismatch(
                    f"{where}: {self.kind} contract differs in {name} ({theirs.get(name)!r}, expected {value!r}); "
                    "rebuild the index"
                )


@lru_cache(maxsize=64)
def _id(contract: Contract) -> str:
    """Kept, since every query asks for it."""
    return identity.contract_id(f"{name}={value}" for name, value in contract.fields.items())


@dataclass(frozen=True, slots=True)
class EmbeddingContract(Contract):
    """Everything that decides the value of a vector."""

    kind: ClassVar[str] = "embedding"

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
