"""Few allowed chunks: the result is that of a brute-force search, ties and tombstones included."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from codeintel_core.indexes import dense_build, gather
from codeintel_core.indexes.dense import PRIMARY, DenseIndex, Operating, Shard

_VECTORS, _DIMENSION = 2000, 16


@pytest.fixture(scope="module", params=["SQfp16", "IVF4,PQ8x4fs,Refine(SQfp16)"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A primary in which every vector occurs four times, under ids in no order, a tenth of them gone."""
    random = np.random.default_rng(4)
    vectors = np.tile(random.normal(size=(_VECTORS // 4, _DIMENSION)).astype(np.float32), (4, 1))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = faiss.index_factory(_DIMENSION, request.param, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    ids = random.choice(1 << 62, _VECTORS, replace=False)
    to = tmp_path_factory.mktemp("dense")
    Shard(index, ids).write(to, PRIMARY)
    dense_build.write_secondary(vectors[:0], ids[:0], np.sort(ids[::10]), to)
    return to


@pytest.mark.parametrize("rows", [4096, 16])
@pytest.mark.parametrize("k", [1, 7, 50, 200])
def test_a_small_scope_is_searched_exactly_whatever_ties(
    folder: Path, rows: int, k: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "_ROWS", rows)
    index = DenseIndex.open(folder, Operating(1, 1))  # one list, so that lists of codes would miss most
    vectors, ids = index.primary.vectors(), index.primary.ids
    random = np.random.default_rng(k)
    often = np.flatnonzero(np.arange(_VECTORS) % (_VECTORS // 4) < 50)  # 50 vectors, four times each
    for count in (1, 2, 40, *[100] * 10):
        among = random.choice(often, count, replace=False)
        allowed = np.append(ids[among], [5, 1 << 62])  # and two that are not here
        query = vectors[random.integers(_VECTORS)]
        live = [int(at) for at in among if ids[at] not in index.tombstones]
        scores = (vectors @ query).round(5)
        expected = sorted(live, key=lambda at: (-scores[at], ids[at]))[:k]

        found, cosines = index.search(query, k, random.permutation(allowed))

        assert found.tolist() == ids[expected].tolist()
        np.testing.assert_allclose(cosines, scores[expected], atol=1e-4)


def test_a_scope_with_nothing_of_the_index_finds_nothing(folder: Path) -> None:
    index = DenseIndex.open(folder, Operating(1, 1))
    assert index.search(np.eye(1, _DIMENSION, dtype=np.float32)[0], 5, np.array([1, 2]))[0].tolist() == []


def test_an_older_flat_index_of_float32_is_searched_with_a_selector() -> None:
    vectors = np.eye(40, _DIMENSION, dtype=np.float32)
    index = faiss.IndexFlatIP(_DIMENSION)
    index.add(vectors)
    assert gather.Gatherer.of(index) is None
    found = Shard(index, np.arange(40)).search_within(vectors[3:4], 5, np.array([3, 7]), None, Operating())[1]
    assert found.tolist() == [[3, 7]]
