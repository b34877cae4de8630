"""The impact index: scores are dot products to the last bit, in an incremental index as in a rebuilt one."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.sparse.contract import Impacts
from codeintel_core.indexes import sparse
from codeintel_core.indexes.lexical import LexicalIndex, link_segments
from codeintel_core.indexes.sparse import SparseDocument, SparseSearcher
from codeintel_core.scope import Scope

_FAR = Deadline.after(3600)
_folders = itertools.count()
Vector = dict[int, int]
_VECTOR = st.dictionaries(st.integers(0, 12), st.integers(1, 10_000), max_size=6)


def _impacts(vector: Vector) -> Impacts:
    return np.array(sorted(vector.items()), np.int32).reshape(-1, 2)


def _document(chunk_id: int, vector: Vector, path: str = "src/a.py") -> SparseDocument:
    return SparseDocument(chunk_id, _impacts(vector), path, "python", "source")


def _found(query: Vector, *indexes: LexicalIndex, scope: Scope = Scope()) -> dict[int, float]:  # noqa: B008 (frozen)
    searcher = SparseSearcher(indexes)
    ids, scores, _ = searcher.search_owned(sparse.query_terms(_impacts(query)), 100, scope, _FAR)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    return dict(zip(ids.tolist(), scores.tolist(), strict=True))


def _dots(query: Vector, documents: dict[int, Vector]) -> dict[int, float]:
    dots = {i: sum(query[t] * vector.get(t, 0) for t in query) for i, vector in documents.items()}
    return {i: float(np.float32(dot)) for i, dot in dots.items() if dot}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.integers(0, 2**63 - 1), _VECTOR, max_size=8),
    st.lists(st.tuples(st.sets(st.integers(0, 9)), st.dictionaries(st.integers(100, 130), _VECTOR, max_size=4)),
             max_size=2),
    st.dictionaries(st.integers(0, 12), st.integers(1, 300), min_size=1, max_size=6),
)  # fmt: skip
def test_scores_are_dot_products_however_the_index_came_to_be(
    tmp_path: Path, first: dict[int, Vector], changes: list[tuple[set[int], dict[int, Vector]]], query: Vector
) -> None:
    root = tmp_path / str(next(_folders))
    live, folder = dict(first), root / "0"
    sparse.write(folder, add=[_document(i, vector) for i, vector in live.items()])
    for turn, (positions, added) in enumerate(changes, 1):
        gone = {sorted(live)[i] for i in positions if i < len(live)} | (added.keys() & live.keys())
        link_segments(folder, root / str(turn))
        live = {i: vector for i, vector in live.items() if i not in gone} | added
        folder = root / str(turn)
        assert sparse.write(folder, add=[_document(i, v) for i, v in added.items()], delete=gone) == len(live)
    sparse.write(root / "full", add=[_document(i, vector) for i, vector in live.items()])
    incremental, full = LexicalIndex(folder), LexicalIndex(root / "full")
    assert _found(query, incremental) == _found(query, full) == _dots(query, live)
    incremental.close()
    full.close()


def test_several_repositories_and_a_scope(tmp_path: Path) -> None:
    sparse.write(tmp_path / "a", add=[_document(1, {5: 100}), _document(2, {5: 300}, "lib/b.py")])
    sparse.write(tmp_path / "b", add=[_document(3, {5: 200, 6: 50})])
    a, b = LexicalIndex(tmp_path / "a"), LexicalIndex(tmp_path / "b")
    assert _found({5: 2, 6: 1}, a, b) == {2: 600.0, 3: 450.0, 1: 200.0}
    assert _found({5: 2, 6: 1}, a, b, scope=Scope(paths=("src/**",))) == {3: 450.0, 1: 200.0}
    assert _found({}, a, b) == {}
    assert _found({9: 1}, a, b) == {}
    a.close()
    b.close()
