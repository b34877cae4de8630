"""Work that is given up stops what runs for it, refuses what comes later, and takes its parts along."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from codeintel_core.stopping import Work, begin, part, stoppable


def in_fresh_context(work: Work, do: object) -> None:
    work.context().run(do)  # type: ignore[arg-type]


def test_what_runs_is_stopped_and_ends_as_cancelled() -> None:
    work, stopped, began = Work(), threading.Event(), threading.Event()
    ended: list[type[BaseException]] = []

    def do() -> None:
        try:
            with stoppable(stopped.set):
                began.set()
                assert stopped.wait(30)
                raise OSError("the pipe broke")  # how a stop is noticed
        except BaseException as error:
            ended.append(type(error))

    thread = threading.Thread(target=in_fresh_context, args=(work, do))
    thread.start()
    assert began.wait(30)
    work.give_up()
    thread.join(30)
    assert ended == [asyncio.CancelledError]
    assert work.is_given_up


def test_a_failure_of_its_own_stays_one() -> None:
    def do() -> None:
        with pytest.raises(OSError, match="mine"), stoppable(lambda: None):
            raise OSError("mine")

    in_fresh_context(Work(), do)


def test_what_was_given_up_does_not_begin() -> None:
    work = Work()
    work.give_up()

    def do() -> None:
        with pytest.raises(asyncio.CancelledError), stoppable(lambda: None):
            raise AssertionError("it began")
        with pytest.raises(asyncio.CancelledError):
            part()

    in_fresh_context(work, do)


def test_a_part_goes_with_the_whole_and_not_the_other_way_round() -> None:
    def do() -> None:
        whole = begin()
        first, second = part(), part()
        first.give_up()
        assert (whole.is_given_up, second.is_given_up) == (False, False)
        second.end()
        whole.give_up()
        assert second.is_given_up is False  # it was over

    contextvars.Context().run(do)


def test_without_work_nothing_is_watched() -> None:
    def do() -> None:
        with stoppable(lambda: None):
            pass

    contextvars.Context().run(do)
