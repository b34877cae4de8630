"""Channels: each ends in exactly one status with a reason, and a hung one neither delays nor starves another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import ContractMismatch, DeadlineExceeded
from codeintel_core.retrieval.channels import DENSE, LEXICAL, SYMBOLS, AtOnce, ChannelPools, Skipped
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.telemetry import Status, current_run, run

_HIT: Ranked = (np.array([7], np.int64), np.array([1.0], np.float32))


class PanicException(BaseException):
    """What a panic in Rust becomes."""


@pytest.fixture
def pools() -> Iterator[ChannelPools]:
    pools = ChannelPools(1)
    yield pools
    pools.close()


def _raise(error: BaseException) -> Callable[[], Ranked]:
    def search() -> Ranked:
        raise error

    return search


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ContractMismatch("revision differs"), Status.FAILED, "revision differs"),
        (RuntimeError("a path of the server"), Status.FAILED, "RuntimeError"),
        (DeadlineExceeded("x"), Status.TIMED_OUT, "ran past its deadline"),
        (TimeoutError(), Status.TIMED_OUT, "ran past its deadline"),
        (MemoryError(), Status.FAILED, "MemoryError"),
        (PanicException(), Status.FAILED, "PanicException"),
    ],
)
def test_a_failing_channel_leaves_the_other(
    pools: ChannelPools, error: BaseException, status: Status, reason: str
) -> None:
    with run("search", None) as current:
        results = pools.run({DENSE: _raise(error), LEXICAL: lambda: _HIT}, Deadline.after(60))
    assert (results[DENSE].status, results[DENSE].reason) == (status, reason)
    assert len(results[DENSE].ranked[0]) == 0
    assert results[LEXICAL].status is Status.COMPLETED
    assert {(step.kind, step.status) for step in current.steps} == {
        ("retrieve.dense", status), ("retrieve.lexical", Status.COMPLETED),
    }  # fmt: skip


def test_a_skipped_channel_says_why(pools: ChannelPools) -> None:
    with run("search", None) as current:
        results = pools.run({DENSE: lambda: _HIT, LEXICAL: Skipped("no index")}, Deadline.after(60))
    assert (results[LEXICAL].status, results[LEXICAL].reason) == (Status.SKIPPED, "no index")
    assert [step.reason for step in current.steps if step.kind == "retrieve.lexical"] == ["no index"]


def test_a_hung_channel_is_left_behind_with_one_status(pools: ChannelPools) -> None:
    hang, left = threading.Event(), threading.Event()

    def hung() -> Ranked:
        hang.wait(60)
        left.set()
        return _HIT

    with run("search", None) as current:
        first = pools.run({DENSE: hung, LEXICAL: lambda: _HIT}, Deadline.after(0.05))
        # The only dense thread still hangs: the next search waits in the queue and is left behind as well.
        second = pools.run({DENSE: lambda: _HIT, LEXICAL: lambda: _HIT}, Deadline.after(0.05))
        hang.set()
        assert left.wait(60)
    for results in (first, second):
        assert results[DENSE].status is Status.TIMED_OUT
        assert results[LEXICAL].status is Status.COMPLETED
    dense = [step.status for step in current.steps if step.kind == "retrieve.dense"]
    assert dense == [Status.TIMED_OUT, Status.TIMED_OUT]


def test_channels_work_for_the_run_that_started_them(pools: ChannelPools) -> None:
    seen = []

    def search() -> Ranked:
        seen.append(current_run())
        return _HIT

    with run("search", None) as current:
        pools.run({DENSE: search, LEXICAL: search}, Deadline.after(60))
        pools.run({SYMBOLS: AtOnce(search)}, Deadline.after(60))
    assert seen == [current, current, current]


def test_what_cannot_wait_is_done_here_and_may_fail(pools: ChannelPools) -> None:
    with run("search", None) as current:
        results = pools.run(
            {DENSE: lambda: _HIT, SYMBOLS: AtOnce(_raise(ContractMismatch("it is torn")))}, Deadline.after(60)
        )
    assert (results[SYMBOLS].status, results[SYMBOLS].reason) == (Status.FAILED, "it is torn")
    assert results[DENSE].status is Status.COMPLETED
    assert {step.kind: step.status for step in current.steps}["retrieve.symbols"] is Status.FAILED
