"""The lexical index: an incremental index answers like a rebuilt one, threads do not disturb each other."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, InvalidRequest, LexicalUnavailable
from codeintel_core.indexes import jvm, lexical
from codeintel_core.indexes.lexical import LexicalDocument, LexicalIndex, LexicalSearcher
from codeintel_core.scope import Scope

_FAR = Deadline.after(3600)
_EVERYTHING = Scope()
_folders = itertools.count()


def _document(
    chunk_id: int, terms: Iterable[str], path: str = "src/a.py", file_class: str = "source"
) -> LexicalDocument:
    return LexicalDocument(chunk_id, list(terms), path, "python", file_class)


def _search(
    indexes: list[LexicalIndex],
    terms: str,
    scope: Scope = _EVERYTHING,
    k: int = 50,
) -> dict[int, float]:
    ids, scores = LexicalSearcher(indexes).search([(term, 1.0) for term in terms.split()], k, scope, _FAR)
    assert scores.tolist() == sorted(scores.tolist(), reverse=True)
    return dict(zip(ids.tolist(), scores.tolist(), strict=True))


_TERMS = st.lists(st.sampled_from(["red", "green", "blue", "größe", "x_1"]), max_size=6)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.integers(0, 2**63 - 1), _TERMS, max_size=10),
    st.lists(
        st.tuples(st.sets(st.integers(0, 9)), st.dictionaries(st.integers(100, 130), _TERMS, max_size=4)), max_size=3
    ),
)
def test_incremental_equals_a_full_rebuild(
    tmp_path: Path, first: dict[int, list[str]], changes: list[tuple[set[int], dict[int, list[str]]]]
) -> None:
    root = tmp_path / str(next(_folders))
    live, folder = dict(first), root / "0"
    lexical.write(folder, add=[_document(i, terms) for i, terms in live.items()])
    for turn, (positions, added) in enumerate(changes, 1):
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        gone = {sorted(live)[i] for i in positions if i < len(live)} | (added.keys() & live.keys())
        lexical.link_segments(folder, root / str(turn))
        live = {i: terms for i, terms in live.items() if i not in gone} | added
        count = lexical.write(root / str(turn), add=[_document(i, t) for i, t in added.items()], delete=gone)
        assert count == len(live)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before  # the parent is immutable
        folder = root / str(turn)
    lexical.write(root / "full", add=[_document(i, terms) for i, terms in live.items()])
    incremental, full = LexicalIndex(folder), LexicalIndex(root / "full")
    assert incremental.count == full.count == len(live)
    for query in ("red", "größe x_1", "red green blue"):
        assert set(_search([incremental], query)) == set(_search([full], query))
        assert set(_search([full], query)) == {i for i, terms in live.items() if set(query.split()) & set(terms)}
    incremental.close()
    full.close()


@pytest.fixture
def index(tmp_path: Path) -> LexicalIndex:
    documents = [
        _document(1, ["ledger", "ledger", "append"]),
        _document(2, ["ledger", "read"], path="lib/b.py"),
        _document(3, ["ledger"], path="tests/test_a.py", file_class="test"),
        LexicalDocument(4, ["ledger"], "main.go", "go", "source"),
    ]
    lexical.write(tmp_path / "lucene", add=documents)
    return LexicalIndex(tmp_path / "lucene")


def test_rare_and_repeated_terms_score_higher(index: LexicalIndex) -> None:
    scores = _search([index], "ledger append")
    assert next(iter(scores)) == 1
    assert scores[3] > scores[2]  # the shorter document
    assert next(iter(_search([index], "ledger read"))) == 2


def test_weights_count(index: LexicalIndex) -> None:
    searcher = LexicalSearcher([index])
    assert searcher.search([("append", 1.0), ("read", 5.0)], 1, Scope(), _FAR)[0].tolist() == [2]
    assert searcher.search([("append", 5.0), ("read", 1.0)], 1, Scope(), _FAR)[0].tolist() == [1]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope(paths=("lib/",)), {2}),
        (Scope(paths=("lib/", "*.go")), {2, 4}),
        (Scope(languages=("go",)), {4}),
        (Scope(languages=("go", "python")), {1, 2, 3, 4}),
        (Scope(include_tests=False), {1, 2, 4}),
        (Scope(paths=("**/*.py",), include_tests=False), {1, 2}),
        (Scope(paths=("nowhere/",)), set()),
        (Scope(languages=("cobol",)), set()),
    ],
)
def test_scopes(index: LexicalIndex, scope: Scope, expected: set[int]) -> None:
    assert set(_search([index], "ledger", scope)) == expected


def test_no_text_is_syntax(index: LexicalIndex) -> None:
    for term in ('"', "*", "ledger*", "(", "+ledger", "ledger~", "terms:ledger", "\\", "a\0b", "😀", "x" * 40_000):
        assert _search([index], "zzz") == {}
        ids, _ = LexicalSearcher([index]).search([(term, 1.0)], 5, Scope(), _FAR)
        assert ids.tolist() == []
    assert LexicalSearcher([index]).search([], 5, Scope(), _FAR)[0].tolist() == []


def test_very_many_terms_are_cut_and_not_refused(index: LexicalIndex) -> None:
    terms = " ".join(["ledger", *(f"t{i}" for i in range(5000))])
    assert set(_search([index], terms)) == {1, 2, 3, 4}


def test_a_glob_that_is_too_complex_is_named(index: LexicalIndex) -> None:
    with pytest.raises(InvalidRequest, match="too complex for lexical search"):
        _search([index], "ledger", Scope(paths=("**/*a" + "?" * 30,)))


def test_a_hundred_long_globs_work(index: LexicalIndex) -> None:
    globs = tuple(f"{chr(97 + i % 26)}{i}" * 60 for i in range(99))
    assert set(_search([index], "ledger", Scope(paths=(*globs, "lib/**")))) == {2}


def test_several_indexes_share_their_statistics(index: LexicalIndex, tmp_path: Path) -> None:
    lexical.write(
        tmp_path / "other", add=[_document(100 + i, ["ledger"]) for i in range(20)] + [_document(99, ["read"])]
    )
    other = LexicalIndex(tmp_path / "other")
    together = _search([index, other], "ledger read")
    assert set(together) == {1, 2, 3, 4, 99, *range(100, 120)}
    alone = _search([index], "read")
    assert together[99] > max(alone.values())  # rarer among 25 documents than among 4
    other.close()


def test_an_empty_index(tmp_path: Path) -> None:
    assert lexical.write(tmp_path / "lucene", add=[]) == 0
    empty = LexicalIndex(tmp_path / "lucene")
    assert _search([empty], "ledger", Scope(paths=("a/",))) == {}


def test_what_is_no_index_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(LexicalUnavailable, match=r"cannot be opened: .{1,300}$"):
        LexicalIndex(tmp_path)
    (tmp_path / "segments_1").write_bytes(b"junk")
    with pytest.raises(LexicalUnavailable, match=r"cannot be opened: .{1,300}$"):
        LexicalIndex(tmp_path)


def test_a_closed_index_fails_and_does_not_crash(index: LexicalIndex) -> None:
    searcher = LexicalSearcher([index])
    index.close()
    with pytest.raises(Exception, match="AlreadyClosed"):
        searcher.search([("ledger", 1.0)], 5, Scope(), _FAR)


def test_threads_do_not_reach_into_each_other(tmp_path: Path) -> None:
    """pyjnius shares bound methods between threads: without our lock this mixes results or ends the process."""
    searchers = []
    for owner in range(3):
        lexical.write(tmp_path / str(owner), add=[_document(owner * 10 + i, ["red", f"t{i}"]) for i in range(4)])
        searchers.append(LexicalSearcher([LexicalIndex(tmp_path / str(owner))]))
    wrong: list[object] = []

    def ask(owner: int) -> None:
        for turn in range(60):
            try:
                ids, _ = searchers[owner].search(
                    [("red", 1.0), (f"t{turn % 4}", 2.0)], 9, Scope(include_tests=False), _FAR
                )
            except Exception as error:
                wrong.append(error)
            else:
                if ids[0] != owner * 10 + turn % 4 or sorted(ids) != list(range(owner * 10, owner * 10 + 4)):
                    wrong.append(ids)

    threads = [threading.Thread(target=ask, args=(owner,)) for owner in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_a_jvm_that_is_busy_is_waited_for_until_the_deadline(index: LexicalIndex) -> None:
    searcher, raised = LexicalSearcher([index]), []

    def ask() -> None:
        try:
            searcher.search([("ledger", 1.0)], 5, Scope(), Deadline.after(0.01))
        except DeadlineExceeded as error:
            raised.append(error)

    with jvm.java():
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert len(raised) == 1


def test_scores_are_float32_and_ids_int64(index: LexicalIndex) -> None:
    ids, scores = LexicalSearcher([index]).search([("ledger", 1.0)], 2, Scope(), _FAR)
    assert (ids.dtype, scores.dtype, len(ids)) == (np.int64, np.float32, 2)
