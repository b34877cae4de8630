"""Learned sparse vectors (SPLADE): terms of a model's vocabulary with impacts, under a contract of their own.

Weights become integers once, right behind the model (`Impacts`), so that an index holds exactly what was encoded
and two builds of the same text agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codeintel_core.embedding.contract import Contract

IMPACTS_PER_UNIT = 100
MAX_WEIGHT = 100.0  # log(1 + x) of a logit never comes near
MAX_VOCABULARY = 1_000_000

Impacts = NDArray[np.int32]
"""(terms, 2): term ids, rising, and their impacts, 1 or more."""


@dataclass(frozen=True, slots=True)
class SparseContract(Contract):
    """Everything that decides the value of a sparse vector."""

    kind: ClassVar[str] = "sparse"

    model: str
    revision: str  # weight digest or model revision
    vocabulary: int  # number of terms, 0 when the server does not say
    max_tokens: int  # longest text, 0 when the server decides
    document_terms: int  # most terms of a document
    query_terms: int  # most terms of a query
    impacts_per_unit: int  # impact of the weight 1
    text_version: int  # version of `embedded_text`


class SparseEncoder(Protocol):
    """Turns texts into sparse vectors under one contract."""

    @property
    def contract(self) -> SparseContract:
        """The contract of every vector this encoder returns."""
        ...

    def encode_documents(self, texts: Sequence[str]) -> list[Impacts]:
        """Impacts of each text, in the order given; empty for a text that activates no term."""
        ...

    def encode_query(self, text: str) -> Impacts:
        """Impacts of a query; empty when it activates no term."""
        ...


def impacts_of(terms: ArrayLike, weights: ArrayLike, *, vocabulary: int, most: int) -> Impacts:
    """The `most` strongest terms as impacts; ties go to the lower id, weights that round to 0 are left out.

    Args:
        terms: term ids, (n,).
        weights: their weights, (n,).
        vocabulary: number of terms of the model; 0 when it is not known.
        most: how many terms are kept.

    Raises:
        ValueError: what is wrong with them, in words: an encoder that answers so is not used.
    """
    try:
        ids, values = np.asarray(terms, np.int64), np.asarray(weights, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError("answered terms or weights that are not numbers") from None
    if ids.ndim != 1 or ids.shape != values.shape:
        raise ValueError("answered not one weight for each term")
    if not np.isfinite(values).all():
        raise ValueError("answered weights that are not finite")
    if (values < 0).any():
        raise ValueError("answered negative weights: it is not a sparse (SPLADE) model")
    if (values > MAX_WEIGHT).any():
        raise ValueError(f"answered a weight of {values.max():.3g}; sparse weights are 0..{MAX_WEIGHT:g}")
    limit = vocabulary or MAX_VOCABULARY
    if ids.size and not (ids.min() >= 0 and ids.max() < limit):
        raise ValueError(f"answered a term outside its vocabulary of {limit}")
    if len(np.unique(ids)) != len(ids):
        raise ValueError("answered a term twice")
    impacts = np.rint(values * IMPACTS_PER_UNIT).astype(np.int64)
    kept = np.flatnonzero(impacts)
    strongest = kept[np.lexsort((ids[kept], -impacts[kept]))][:most]
    by_term = strongest[np.argsort(ids[strongest])]
    found: Impacts = np.stack([ids[by_term], impacts[by_term]], axis=1).astype(np.int32)
    return found
