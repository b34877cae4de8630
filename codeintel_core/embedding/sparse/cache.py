"""Sparse vectors of many texts through the cache: equal texts once, known texts never, an interrupted build resumes."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from codeintel_core import identity
from codeintel_core.embedding.cache import ContentCache
from codeintel_core.embedding.sparse.contract import Impacts, SparseContract, SparseEncoder

_SLICE_TEXTS = 128
_PAIR_BYTES = 8
_log = logging.getLogger("codeintel.sparse")


class SparseCache(ContentCache):
    """The sparse vectors of one contract."""

    def __init__(self, folder: Path, contract: SparseContract) -> None:
        """As `ContentCache`."""
        super().__init__(folder, contract)
        self.contract = contract

    def keys(self, texts: Sequence[str]) -> list[str]:
        """Key of each text."""
        return [identity.text_key(self.contract.contract_id, text) for text in texts]

    def get_many(self, keys: Sequence[str]) -> dict[str, Impacts]:
        """The impacts of those keys that are known; raises `StorageFailed`."""
        rows, _ = self.rows(keys)
        return {
            key: np.frombuffer(data, np.int32).reshape(-1, 2)
            for key, data in rows.items()
            if len(data) % _PAIR_BYTES == 0
        }

    def put_many(self, found: Sequence[tuple[str, Impacts]]) -> None:
        """Store impacts by key: all or none; raises `StorageFailed`."""
        self.put_rows([(key, np.ascontiguousarray(impacts, np.int32).tobytes()) for key, impacts in found])


def encode_texts(encoder: SparseEncoder, cache: SparseCache, texts: Sequence[str]) -> tuple[list[Impacts], int]:
    """Impacts of each text, and how many distinct texts were encoded now; each slice is stored before the next.

    Progress goes to the logger `codeintel.sparse`: `extra={"progress": ("sparse", done, total)}`, in distinct texts.

    Raises:
        ContractMismatch: the cache is of another contract.
        ModelUnavailable, DeadlineExceeded: the encoder does not answer, or not with sparse vectors.
        StorageFailed: the cache cannot be read or written.
    """
    encoder.contract.require_same(cache.contract, str(cache.path))
    keys = cache.keys(texts)
    text_of = dict(zip(keys, texts, strict=True))
    found = cache.get_many(list(text_of))
    misses = sorted(text_of.keys() - found.keys(), key=lambda key: (len(text_of[key]), key))
    done = len(found)
    for some in _slices(misses):
        new = list(zip(some, encoder.encode_documents([text_of[key] for key in some]), strict=True))
        cache.put_many(new)
        found.update(new)
        done += len(some)
        _log.info("encoded %d of %d texts", done, len(text_of), extra={"progress": ("sparse", done, len(text_of))})
    return [found[key] for key in keys], len(misses)


def _slices(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _SLICE_TEXTS):
        yield keys[start : start + _SLICE_TEXTS]
