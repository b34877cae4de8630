"""The cache computes once, shares what is being computed, forgets failures, and keeps only what may be kept."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.queries import CachedQueries
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.memo import AS_BYTES, Memo
from codeintel_core.telemetry import metrics
from tests.core.specimen import CONTRACT

SOON = 30.0


def counted(cache: str, result: str) -> float:
    return float(metrics.CACHE_REQUESTS.labels(cache, result)._value.get())


def test_hits_and_misses_are_counted() -> None:
    memo: Memo[str, int] = Memo("test", 2)
    before = counted("test", "hit")
    assert memo.get("a", lambda: 1, Deadline.after(SOON)) == (1, "miss")
    assert memo.get("a", lambda: 2, Deadline.after(SOON)) == (1, "hit")
    assert counted("test", "hit") == before + 1


def test_the_oldest_leave() -> None:
    memo: Memo[str, int] = Memo("test", 2)
    for key in "abc":
        memo.get(key, lambda: 1, Deadline.after(SOON))
    assert memo.get("a", lambda: 2, Deadline.after(SOON)) == (2, "miss")


def test_work_of_several_threads_is_done_once() -> None:
    memo: Memo[str, int] = Memo("test", 2)
    started, release, calls = threading.Event(), threading.Event(), []

    def compute() -> int:
        calls.append(1)
        started.set()
        assert release.wait(SOON)
        return 7

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(memo.get, "a", compute, Deadline.after(SOON))
        assert started.wait(SOON)
        others = [pool.submit(memo.get, "a", compute, Deadline.after(SOON)) for _ in range(3)]
        with pytest.raises(DeadlineExceeded):
            memo.get("a", compute, Deadline.after(0.05))
        release.set()
        assert first.result(SOON) == (7, "miss")
        assert {other.result(SOON)[0] for other in others} == {7}
    assert len(calls) == 1


def test_failures_are_not_kept_and_not_inherited() -> None:
    memo: Memo[str, int] = Memo("test", 2)
    started, release = threading.Event(), threading.Event()

    def fail() -> int:
        started.set()
        assert release.wait(SOON)
        raise ValueError("mine")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(memo.get, "a", fail, Deadline.after(SOON))
        assert started.wait(SOON)
        other = pool.submit(memo.get, "a", lambda: 3, Deadline.after(SOON))
        release.set()
        with pytest.raises(ValueError, match="mine"):
            first.result(SOON)
        assert other.result(SOON)[0] == 3
    assert memo.get("b", lambda: 4, Deadline.after(SOON), keep=lambda _: False) == (4, "miss")
    assert memo.get("b", lambda: 5, Deadline.after(SOON)) == (5, "miss")


def test_without_entries_nothing_is_kept() -> None:
    memo: Memo[str, int] = Memo("test", 0)
    assert [memo.get("a", lambda n=n: n, Deadline.after(SOON)) for n in (1, 2)] == [(1, "miss"), (2, "miss")]


def test_what_is_kept_as_bytes_is_a_copy_that_the_collector_does_not_see() -> None:
    memo: Memo[int, list[list[int]]] = Memo("test", 200, AS_BYTES)
    gc.collect()
    before = len(gc.get_objects())
    for key in range(100):
        memo.get(key, lambda key=key: [[key] for _ in range(100)], Deadline.after(SOON))
    gc.collect()
    assert len(gc.get_objects()) - before < 1_000  # of 10,000 that were computed
    first, second = (memo.get(7, list, Deadline.after(SOON)) for _ in range(2))
    assert first == second == ([[7]] * 100, "hit")
    assert first[0] is not second[0]


def test_what_cannot_be_kept_leaves_nobody_waiting() -> None:
    memo: Memo[str, object] = Memo("test", 2, AS_BYTES)
    for _ in range(2):
        with pytest.raises(Exception, match="pickle"):
            memo.get("a", lambda: lambda: None, Deadline.after(SOON))
    assert memo.get("a", lambda: 1, Deadline.after(SOON)) == (1, "miss")


def test_query_vectors_are_kept_and_cannot_be_changed() -> None:
    asked: list[str] = []

    class Counting:
        contract = CONTRACT

        def encode_query(self, text: str) -> np.ndarray:
            asked.append(text)
            return np.ones(3, np.float32)

        def encode_documents(self, texts: list[str]) -> np.ndarray:
            return np.ones((len(texts), 3), np.float32)

        def count_tokens(self, texts: list[str]) -> list[int]:
            return [1 for _ in texts]

    encoder = CachedQueries(Counting(), 10)  # type: ignore[arg-type]
    first, second = encoder.encode_query("a"), encoder.encode_query("a")
    assert first is second
    assert asked == ["a"]
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 2
    assert encoder.encode_documents(["x"]).shape == (1, 3)
