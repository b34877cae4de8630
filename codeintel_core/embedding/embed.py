"""Embed many texts through the cache: equal texts once, known texts never, and an interrupted build resumes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codeintel_core import identity
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import EmbeddingContract, Encoder, Matrix
from codeintel_core.errors import ContractMismatch, ModelUnavailable

_SLICE_TEXTS = 512
_SLICE_CHARS = 200_000  # a few seconds of the embedded model on two cores
_NORM_TOLERANCE = 1e-3
EncodeSlices = Callable[[Sequence[Sequence[str]]], Iterable[Matrix]]
"""Vectors of each slice of texts, in order."""
_log = logging.getLogger("codeintel.embedding")


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors of n texts, and what they cost."""

    matrix: Matrix
    """(n, dimension) float32, unit norm, in the order of the texts."""
    keys: list[str]
    """`identity.text_key` of each text."""
    reused: int
    """Distinct texts found in the cache."""
    computed: int
    """Distinct texts encoded now."""
    damaged: int
    """Cached rows that did not match their checksum and were computed again."""
    seconds: float
    """Wall time of the call."""


def embed_texts(
    encoder: Encoder, cache: VectorCache, texts: Sequence[str], encode: EncodeSlices | None = None
) -> Embedded:
    """Vectors of `texts` under the encoder's contract; every slice of misses is committed when it is encoded.

    `encode` encodes slices of texts somewhere else than in the encoder of this process, under the same contract.

    Progress goes to the logger `codeintel.embedding`: `extra={"progress": ("embed", done, total)}`, in distinct texts.

    Raises:
        ContractMismatch: the cache is of another contract, or the encoder's vectors break their contract.
        ModelUnavailable: the encoder cannot be reached, or returns values that are not finite.
        StorageFailed: the cache cannot be read or written.
    """
    started = time.perf_counter()
    contract = encoder.contract
    contract.require_same(cache.contract, str(cache.path))
    contract_id = contract.contract_id
    keys = [identity.text_key(contract_id, text) for text in texts]
    text_of = dict(zip(keys, texts, strict=True))
    distinct = list(text_of)
    found = cache.get_many(distinct)
    misses = sorted(np.flatnonzero(~found.present).tolist(), key=lambda i: len(text_of[distinct[i]]))
    done, total = len(distinct) - len(misses), len(distinct)
    slices = list(_slices(misses, [len(text_of[distinct[i]]) for i in misses]))
    texts_of = [[text_of[distinct[i]] for i in some] for some in slices]
    encoded = encode(texts_of) if encode else map(encoder.encode_documents, texts_of)
    for some, vectors in zip(slices, encoded, strict=True):
        _check(vectors, len(some), contract)
        cache.put_many([distinct[i] for i in some], vectors)
        found.matrix[some] = vectors
        done += len(some)
        _log.info("embedded %d of %d texts", done, total, extra={"progress": ("embed", done, total)})
    row = {key: position for position, key in enumerate(distinct)}
    return Embedded(
        matrix=found.matrix[[row[key] for key in keys]],
        keys=keys,
        reused=total - len(misses),
        computed=len(misses),
        damaged=found.damaged,
        seconds=time.perf_counter() - started,
    )


def _slices(positions: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """Consecutive positions, each slice within both limits or of one text."""
    some: list[int] = []
    chars = 0
    for position, length in zip(positions, lengths, strict=True):
        if some and (len(some) == _SLICE_TEXTS or chars + length > _SLICE_CHARS):
            yield some
            some, chars = [], 0
        some.append(position)
        chars += length
    if some:
        yield some


def _check(vectors: Matrix, count: int, contract: EmbeddingContract) -> None:
    if vectors.shape != (count, contract.dimension):
        raise ContractMismatch(
            f"{contract.model} returned vectors of shape {vectors.shape}, expected ({count}, {contract.dimension})"
        )
    if not np.isfinite(vectors).all():
        raise ModelUnavailable(f"{contract.model} returned values that are not finite; nothing of them was stored")
    worst = float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max()) if contract.normalized and count else 0.0
    if worst > _NORM_TOLERANCE:
        raise ContractMismatch(f"{contract.model} returned vectors that are not of unit norm (off by {worst:.3g})")
