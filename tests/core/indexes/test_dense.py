"""Dense search: whatever was added, removed or left out by a scope, the result is that of a brute-force search."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeintel_core.errors import ContractMismatch, GenerationCorrupt
from codeintel_core.indexes import dense_build
from codeintel_core.indexes.dense import DenseIndex, Operating, Shard, merge

_DIMENSION = 8


def _unit(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, _DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _shard(vectors: np.ndarray, ids: np.ndarray) -> Shard:
    index = faiss.IndexFlatIP(_DIMENSION)
    index.add(vectors)
    return Shard(index, ids)


def _ids(values: object) -> np.ndarray:
    return np.array(sorted(values), np.int64)  # type: ignore[call-overload]


@settings(max_examples=150)
@given(
    primary=st.integers(0, 60),
    secondary=st.integers(0, 15),
    seed=st.integers(0, 1000),
    k=st.integers(1, 80),
    dead=st.sets(st.integers(0, 59)),
    allowed=st.one_of(st.none(), st.sets(st.integers(0, 90)), st.sets(st.integers(0, 90), max_size=2)),
)
def test_search_equals_brute_force(
    primary: int, secondary: int, seed: int, k: int, dead: set[int], allowed: set[int] | None
) -> None:
    vectors = _unit(primary + secondary + 1, seed)
    query, vectors = vectors[0], vectors[1:]
    ids = np.random.default_rng(seed).permutation(90)[: primary + secondary].astype(np.int64)
    tombstones = _ids(int(ids[i]) for i in dead if i < primary)
    index = DenseIndex(
        _shard(vectors[:primary], ids[:primary]), _shard(vectors[primary:], ids[primary:]), tombstones, Operating()
    )
    found_ids, found_scores = index.search(query, k, None if allowed is None else _ids(allowed))
    live = [
        (chunk_id, score)
        for chunk_id, score in zip(ids.tolist(), (vectors @ query).tolist(), strict=True)
        if chunk_id not in tombstones and (allowed is None or chunk_id in allowed)
    ]
    expected = sorted(live, key=lambda item: (-item[1], item[0]))[:k]
    assert found_ids.tolist() == [chunk_id for chunk_id, _ in expected]
    np.testing.assert_allclose(found_scores, [score for _, score in expected], atol=1e-5)
    assert index.count == primary + secondary - len(tombstones)


def test_a_chunk_that_came_back_is_found_once_with_its_new_vector() -> None:
    vectors = _unit(3, 1)
    index = DenseIndex(_shard(vectors[:2], _ids([1, 2])), _shard(vectors[2:], _ids([1])), _ids([1]), Operating())
    ids, scores = index.search(vectors[2], 10)
    assert ids.tolist() == [1, 2] or ids.tolist()[0] == 1
    assert scores[0] == pytest.approx(1.0, abs=1e-5)
    assert len(ids) == 2


@given(st.lists(st.tuples(st.integers(-1, 8), st.integers(-5, 5)), max_size=30), st.integers(0, 40))
def test_merge_keeps_the_best_score_of_each_id(rows: list[tuple[int, int]], k: int) -> None:
    ids, scores = merge(np.array([r[0] for r in rows], np.int64), np.array([r[1] for r in rows], np.float32), k)
    best: dict[int, int] = {}
    for chunk_id, score in rows:
        if chunk_id >= 0:
            best[chunk_id] = max(score, best.get(chunk_id, score))
    expected = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:k]
    assert list(zip(ids.tolist(), scores.tolist(), strict=True)) == expected


def test_what_was_written_is_what_is_opened(tmp_path: Path) -> None:
    vectors, ids = _unit(40, 3), np.arange(100, 140)
    dense_build.build_primary(vectors[:30], ids[:30], tmp_path, flat_max=10_000, min_recall=0.9)
    dense_build.write_secondary(vectors[30:], ids[30:], _ids([100, 101]), tmp_path)
    opened = DenseIndex.open(tmp_path, Operating())
    assert opened.count == 38
    assert opened.search(vectors[35], 1)[0].tolist() == [135]
    assert 100 not in opened.search(vectors[0], 40)[0]
    assert opened.search(vectors[0], 5, _ids([100, 139]))[0].tolist() == [139]
    assert opened.search(vectors[0], 5, _ids([]))[0].tolist() == []


def test_ids_and_vectors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(GenerationCorrupt, match="2 vectors but 1 ids"):
        _shard(_unit(2, 0), _ids([1]))
    with pytest.raises(ContractMismatch, match="dimension 8, secondary 4"):
        DenseIndex(_shard(_unit(1, 0), _ids([1])), Shard(faiss.IndexFlatIP(4), _ids([])), _ids([]), Operating())
