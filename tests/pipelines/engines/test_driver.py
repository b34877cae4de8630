"""The loop over workers: order, retries of what a dead worker had, and when it gives up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest

from codeintel_core.errors import BuildFailed, ModelUnavailable
from codeintel_pipelines.engines.driver import VERSIONS, Engine, Ran, Work, packed


class Died(Exception):
    """As `BrokenProcessPool`."""


@dataclass(frozen=True)
class Lengths:
    splits: bool = True

    def __call__(self, batch: Sequence[str]) -> tuple[pa.Table, ...]:
        if "invalid" in batch:
            raise ModelUnavailable("no model")
        return (pa.table({"text": list(batch), "length": [len(text) for text in batch]}),)


@dataclass
class FakeWorker:
    """Answers at once, unless the batch holds what kills it."""

    work: Work[str]
    kills: dict[str, int]
    """Text -> how often a worker dies of it."""
    versions: str = VERSIONS
    starts: int = 0
    died: tuple[type[BaseException], ...] = (Died,)
    seen: list[Sequence[str]] = field(default_factory=list)

    def start(self) -> Future[str]:
        self.starts += 1
        return done(self.versions)

    def submit(self, batch: Sequence[str]) -> Future[list[bytes]]:
        self.seen.append(batch)
        for text in batch:
            if self.kills.get(text, 0):
                self.kills[text] -= 1
                failed: Future[list[bytes]] = Future()
                failed.set_exception(Died())
                return failed
        result: Future[list[bytes]] = Future()
        try:
            result.set_result(packed(self.work, batch))
        except ModelUnavailable as error:
            result.set_exception(error)
        return result

    def close(self) -> None:
        self.starts = -1


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def rows(found: Iterator[tuple[Sequence[str], Any]]) -> list[tuple[list[str], list[int] | None]]:
    return [(list(items), None if tables is None else tables[0]["length"].to_pylist()) for items, tables in found]


def engine(workers: list[FakeWorker]) -> Engine:
    return Engine("fake", lambda _: list(workers))


BATCHES = [["a", "bb"], ["ccc"], ["dddd", "eeeee", "f"], ["gg"], ["hhh"]]
EXPECTED = [(batch, [len(text) for text in batch]) for batch in BATCHES]


def test_results_come_in_the_order_of_the_batches() -> None:
    workers = [FakeWorker(Lengths(), {}) for _ in range(3)]
    ran = Ran()
    assert (
        rows(engine(workers).run(Lengths(), BATCHES, ran)) == EXPECTED == rows(Engine().run(Lengths(), BATCHES, Ran()))
    )
    assert (ran.engine, ran.workers, ran.batches, ran.retries, ran.lost) == ("fake", 3, 5, 0, 0)
    assert sum(len(worker.seen) for worker in workers) == 5
    assert all(worker.starts == -1 for worker in workers)  # closed


def test_a_batch_whose_worker_died_is_tried_item_by_item() -> None:
    worker, ran = FakeWorker(Lengths(), {"eeeee": 1}), Ran()
    found = rows(engine([worker]).run(Lengths(), BATCHES, ran))
    assert found == [*EXPECTED[:2], (["dddd"], [4]), (["eeeee"], [5]), (["f"], [1]), *EXPECTED[3:]]
    assert (ran.retries, ran.lost) == (3, 0)


def test_only_the_item_that_kills_is_given_up() -> None:
    workers, ran = [FakeWorker(Lengths(), {"eeeee": 9, "f": 9}) for _ in range(2)], Ran()
    found = rows(engine(workers).run(Lengths(), BATCHES, ran))
    assert found == [*EXPECTED[:2], (["dddd"], [4]), (["eeeee"], None), (["f"], None), *EXPECTED[3:]]
    assert ran.lost == 2


def test_what_cannot_be_split_is_tried_whole() -> None:
    work, ran = Lengths(splits=False), Ran()
    worker = FakeWorker(work, {"eeeee": 2})
    assert rows(engine([worker]).run(work, BATCHES, ran)) == EXPECTED
    assert ran.retries == 2
    found = rows(engine([FakeWorker(work, {"eeeee": 3})]).run(work, BATCHES, ran := Ran()))
    assert found == [*EXPECTED[:2], (BATCHES[2], None), *EXPECTED[3:]]
    assert ran.lost == 3


def test_what_the_work_raises_ends_the_stage() -> None:
    worker = FakeWorker(Lengths(), {})
    with pytest.raises(ModelUnavailable, match="no model"):
        rows(engine([worker]).run(Lengths(), [["a"], ["invalid"]], Ran()))
    assert worker.starts == -1


def test_workers_of_another_version_are_refused() -> None:
    with pytest.raises(BuildFailed, match=r"0\.0\.1.*install the same version"):
        rows(engine([FakeWorker(Lengths(), {}, versions="0.0.1, chunker 1")]).run(Lengths(), BATCHES, Ran()))


def test_workers_that_never_start() -> None:
    class Stillborn(FakeWorker):
        def start(self) -> Future[str]:
            failed: Future[str] = Future()
            failed.set_exception(Died())
            return failed

    with pytest.raises(BuildFailed, match="die as soon as they start"):
        rows(engine([Stillborn(Lengths(), {})]).run(Lengths(), BATCHES, Ran()))

    class Pending(FakeWorker):
        def start(self) -> Future[str]:
            return Future()

    waiting = Engine("fake", lambda _: [Pending(Lengths(), {})], start_timeout_s=0.01)
    with pytest.raises(BuildFailed, match="no worker of engine 'fake'"):
        rows(waiting.run(Lengths(), BATCHES, Ran()))


def test_no_batches() -> None:
    assert rows(engine([FakeWorker(Lengths(), {})]).run(Lengths(), [], Ran())) == []
