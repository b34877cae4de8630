"""Embedding through the cache: each distinct text once, whatever interrupts it, and nothing unsound is stored."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codeintel_core.embedding import embed
from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.embedding.embed import embed_texts
from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.errors import CodeIntelError, ContractMismatch, ModelUnavailable, StorageFailed

CONTRACT = EmbeddingContract("m", "r", 8, "fp32", "mean", True, "", "", 16, 1)


class CountingEncoder:
    """A vector per text from its characters; counts what it was asked, and can fail after some calls."""

    def __init__(self, fail_after: int = 1_000, contract: EmbeddingContract = CONTRACT) -> None:
        self.contract = contract
        self.asked: list[str] = []
        self.calls = 0
        self._fail_after = fail_after

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        if self.calls == self._fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.asked += texts
        return np.stack([self.encode_query(text) for text in texts])

    def encode_query(self, text: str) -> Matrix:
        vector = np.random.default_rng(list(text.encode())).standard_normal(8)
        unit: Matrix = (vector / np.linalg.norm(vector)).astype(np.float32)
        return unit

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text) for text in texts]


@pytest.fixture
def cache(tmp_path: Path) -> VectorCache:
    return VectorCache(tmp_path, CONTRACT)


def test_each_distinct_text_is_encoded_once(cache: VectorCache) -> None:
    encoder = CountingEncoder()
    texts = ["bb", "a", "bb", "", "ccc", "a"]
    first = embed_texts(encoder, cache, texts)
    np.testing.assert_array_equal(first.matrix, np.stack([encoder.encode_query(text) for text in texts]))
    assert sorted(encoder.asked) == ["", "a", "bb", "ccc"]
    assert (first.reused, first.computed) == (0, 4)

    again = embed_texts(encoder, cache, ["d", *texts])
    np.testing.assert_array_equal(again.matrix[1:], first.matrix)
    assert again.keys[1:] == first.keys
    assert (again.reused, again.computed, encoder.asked[4:]) == (4, 1, ["d"])


def test_no_texts(cache: VectorCache) -> None:
    assert embed_texts(CountingEncoder(), cache, []).matrix.shape == (0, 8)


def test_an_interrupted_build_resumes_after_its_last_slice(
    cache: VectorCache, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embed, "_SLICE_TEXTS", 10)
    texts = [f"text {n}" for n in range(95)]
    interrupted = CountingEncoder(fail_after=4)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(interrupted, cache, texts)

    resumed = CountingEncoder()
    with caplog.at_level(logging.INFO, "codeintel.embedding"):
        result = embed_texts(resumed, cache, texts)
    assert (result.reused, result.computed, resumed.calls) == (40, 55, 6)
    assert not set(resumed.asked) & set(interrupted.asked)
    assert [record.__dict__["progress"] for record in caplog.records] == [
        ("embed", done, 95) for done in (50, 60, 70, 80, 90, 95)
    ]


def test_slices_are_bounded_by_characters_too() -> None:
    assert list(embed._slices([5, 6, 7, 8], [90_000, 90_000, 90_000, 900_000])) == [[5, 6], [7], [8]]


def test_a_damaged_row_is_computed_again(cache: VectorCache) -> None:
    embed_texts(CountingEncoder(), cache, ["a", "b"])
    cache._db.execute("UPDATE vectors SET crc32 = 0 WHERE rowid = 1")
    result = embed_texts(CountingEncoder(), cache, ["a", "b"])
    assert (result.damaged, result.computed, result.reused) == (1, 1, 1)
    assert embed_texts(CountingEncoder(), cache, ["a", "b"]).computed == 0


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        (np.ones((1, 8), np.float32), ContractMismatch),  # norm
        (np.eye(1, 9, dtype=np.float32), ContractMismatch),  # dimension
        (np.eye(2, 8, dtype=np.float32), ContractMismatch),  # count
        (np.full((1, 8), np.nan, np.float32), ModelUnavailable),
    ],
)
def test_unsound_vectors_are_never_stored(cache: VectorCache, vectors: Matrix, error: type[CodeIntelError]) -> None:
    encoder = CountingEncoder()
    encoder.encode_documents = lambda texts: vectors  # type: ignore[method-assign]
    with pytest.raises(error):
        embed_texts(encoder, cache, ["a"])
    assert embed_texts(CountingEncoder(), cache, ["a"]).reused == 0


def test_a_cache_of_another_contract_is_refused(cache: VectorCache) -> None:
    with pytest.raises(ContractMismatch, match="revision"):
        embed_texts(CountingEncoder(contract=replace(CONTRACT, revision="other")), cache, ["a"])


def test_a_full_disk_names_the_fix(cache: VectorCache) -> None:
    cache._db.execute("PRAGMA query_only = 1")
    with pytest.raises(StorageFailed, match="free space"):
        embed_texts(CountingEncoder(), cache, ["a"])


@pytest.mark.e2e
def test_the_embedded_model_through_the_cache(int8: LocalEncoder, tmp_path: Path) -> None:
    texts = ["def add(a, b): return a + b", "caf\ud800", "", "x" * 5_000]
    with VectorCache(tmp_path, int8.contract) as cache:
        first, again = embed_texts(int8, cache, texts), embed_texts(int8, cache, texts)
    np.testing.assert_array_equal(first.matrix, again.matrix)
    assert (first.computed, again.computed) == (4, 0)
