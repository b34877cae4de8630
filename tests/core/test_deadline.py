"""Deadlines: what is left never goes below zero, the nearer of two wins, and a stage past its end is named."""

from __future__ import annotations

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded


def test_a_deadline_that_has_passed() -> None:
    late = Deadline.after(-1)
    assert late.is_over
    assert late.remaining_s == 0
    with pytest.raises(DeadlineExceeded, match="fusion"):
        late.check("fusion")
    assert late.within(60) == late


def test_a_deadline_that_is_far_away() -> None:
    far = Deadline.after(3600)
    far.check("fusion")
    assert not far.is_over
    assert far.within(60).at_s < far.at_s
