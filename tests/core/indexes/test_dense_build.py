"""Building the primary: exact when small or when recall is not reached, approximate and measured when large."""

from __future__ import annotations

import os
from pathlib import Path

import faiss
import numpy as np
import pytest

from codeintel_core.indexes import dense_build
from codeintel_core.indexes.dense import PRIMARY, DenseIndex, Operating, Shard


def _unit(count: int, dimension: int = 16) -> np.ndarray:
    vectors = np.random.default_rng(5).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 40])
def test_few_vectors_are_searched_exactly_whatever_the_setting(tmp_path: Path, count: int) -> None:
    choice = dense_build.build_primary(_unit(count), np.arange(count), tmp_path, flat_max=1, min_recall=0.95)
    assert (choice.kind, choice.recall_at_10) == ("SQfp16", 1.0)
    assert len(Shard.open(tmp_path, PRIMARY).ids) == count


@pytest.mark.parametrize("lists", [1, 27])
def test_many_vectors_get_an_approximate_index_that_reaches_its_recall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: int
) -> None:
    monkeypatch.setattr(dense_build, "_ONE_LIST", 3000 if lists == 1 else 2999)  # half a million in earnest
    vectors, ids = _unit(3000), np.arange(10_000, 13_000)
    choice = dense_build.build_primary(vectors, ids, tmp_path, flat_max=1000, min_recall=0.9)
    assert choice.kind == f"IVF{lists},PQ8x4fs,Refine(SQfp16)"
    assert choice.recall_at_10 >= 0.9
    assert choice.curve[-1][2] == max(point[2] for point in choice.curve) == choice.recall_at_10
    parameters = choice.as_parameters()
    assert Operating(**parameters["operating"]) == choice.operating
    nothing = np.empty(0, np.int64)
    dense_build.write_secondary(vectors[:0], nothing, ids[:100], tmp_path)
    index = DenseIndex.open(tmp_path, choice.operating)
    exact = faiss.knn(vectors[200:300], vectors[100:], 10, metric=faiss.METRIC_INNER_PRODUCT)[1] + 10_100
    found = [index.search(query, 10)[0] for query in vectors[200:300]]
    assert np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, exact, strict=True)]) >= 0.9
    assert min(row.min() for row in found) >= 10_100  # tombstones hold in the approximate index too
    for allowed in (ids[500:515], ids[500:2500]):  # gathered, and selected inside the index
        assert set(index.search(vectors[505], 10, allowed)[0].tolist()) <= set(allowed.tolist())
        assert index.search(vectors[505], 10, allowed)[0][0] == 10_505


def test_a_scope_finds_its_best_in_lists_far_from_the_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense_build, "_ONE_LIST", 1)  # half a million in earnest
    vectors, ids = _unit(3000), np.arange(3000)
    choice = dense_build.build_primary(vectors, ids, tmp_path, flat_max=1000, min_recall=0.5)
    dense_build.write_secondary(vectors[:0], ids[:0], ids[:0], tmp_path)
    index = DenseIndex.open(tmp_path, choice.operating)
    allowed = ids[::10]  # too many to be gathered
    exact = faiss.knn(vectors[1:41], vectors[allowed], 50, metric=faiss.METRIC_INNER_PRODUCT)[1]
    found = [index.search(query, 50, allowed)[0] for query in vectors[1:41]]
    assert np.mean([len(np.intersect1d(a, allowed[b])) / 50 for a, b in zip(found, exact, strict=True)]) >= 0.99


def test_an_approximate_index_below_its_recall_is_replaced_by_an_exact_one(tmp_path: Path) -> None:
    choice = dense_build.build_primary(_unit(1001), np.arange(1001), tmp_path, flat_max=1000, min_recall=1.1)
    assert (choice.kind, choice.operating, choice.recall_at_10) == ("SQfp16", Operating(), 1.0)
    assert choice.curve
    assert len(Shard.open(tmp_path, PRIMARY).ids) == 1001


def test_the_primary_of_a_parent_is_linked_and_not_copied(tmp_path: Path) -> None:
    dense_build.build_primary(_unit(5), np.arange(5), tmp_path / "a", flat_max=10, min_recall=0.9)
    dense_build.link_primary(tmp_path / "a", tmp_path / "b")
    for name in ("primary.faiss", "primary_ids.npy"):
        assert os.path.samefile(tmp_path / "a" / name, tmp_path / "b" / name)
