"""Deadlines: what is left never goes below zero, the nearer of two wins, and a stage past its end is named."""

from __future__ import annotations

import asyncio

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.stopping import part


def test_a_deadline_that_has_passed() -> None:
    late = Deadline.after(-1)
    assert late.is_over
    assert late.remaining_s == 0
    with pytest.raises(DeadlineExceeded, match="fusion"):
        late.check("fusion")
    assert late.within(60) == late


def test_every_deadline_of_work_that_was_given_up_is_over() -> None:
    far, work = Deadline.after(3600), part()
    context = work.context()
    work.give_up()
    assert not far.is_over
    assert context.run(lambda: far.is_over)
    assert context.run(lambda: far.within(60).remaining_s) == 0
    with pytest.raises(asyncio.CancelledError, match="fusion"):
        context.run(far.check, "fusion")


def test_a_deadline_that_is_far_away() -> None:
    far = Deadline.after(3600)
    far.check("fusion")
    assert not far.is_over
    assert far.within(60).at_s < far.at_s
