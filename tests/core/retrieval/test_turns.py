"""Turns: two searches at a time, nobody waits for long, and who went in without a turn gives none back."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.retrieval import turns
from codeintel_core.retrieval.turns import Turns
from codeintel_core.settings import Settings

LATER = Deadline.after(3_600)


def test_who_finds_a_turn_does_not_wait() -> None:
    mine = Turns(2)
    with mine.taken(LATER) as first, mine.taken(LATER) as second:
        assert first == second == 0


def test_the_next_goes_when_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_PATIENCE_S", 60.0)  # so that it does not go by itself
    mine, waited = Turns(1), list[float]()

    def wait() -> None:
        with mine.taken(LATER) as waited_s:
            waited.append(waited_s)

    with mine.taken(LATER):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.05)  # it would be through by then
        assert waiting.is_alive()
    waiting.join(60)
    assert 0 < waited[0] < 60


def test_nobody_waits_for_long_behind_those_that_are_stuck() -> None:
    mine = Turns(1)
    with mine.taken(LATER):
        for left_s, patience_s in ((3_600, 0.25), (0.2, 0.05), (0, 0)):
            with mine.taken(Deadline.after(left_s)) as waited_s:
                assert waited_s >= patience_s * 0.5
    with ExitStack() as held:  # those who went without a turn gave none back: there is one
        assert held.enter_context(mine.taken(LATER)) == 0
        assert held.enter_context(mine.taken(LATER)) > 0


def test_a_turn_is_given_back_by_who_fails() -> None:
    mine = Turns(1)
    with pytest.raises(ZeroDivisionError), mine.taken(LATER):
        raise ZeroDivisionError
    with mine.taken(LATER) as waited_s:
        assert waited_s == 0


@pytest.mark.parametrize(
    ("remote", "at_once"),
    [({}, 2), ({"embed_base_url": "http://127.0.0.1:1/v1", "embed_model": "m"}, 10),
     ({"sparse_base_url": "http://127.0.0.1:1/v1", "sparse_model": "m"}, 10),
     ({"vector_engine": "postgresql://user@127.0.0.1/db"}, 10)],
)  # fmt: skip
def test_what_waits_for_the_network_waits_together(remote: dict[str, str], at_once: int) -> None:
    mine = Turns.of(Settings(**remote))  # type: ignore[arg-type]
    with ExitStack() as held:
        assert [held.enter_context(mine.taken(LATER)) for _ in range(at_once)] == [0] * at_once
        started = time.monotonic()
        waited_s = held.enter_context(mine.taken(LATER))
        assert (waited_s > 0) == (at_once == 2)
        assert time.monotonic() - started >= waited_s
