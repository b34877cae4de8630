"""Readiness: every check by name, with a reason and since when; kept, bounded, and 503 as soon as the server drains."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from workshop import Workshop, settings_for

from codeintel_core.watched import note_change
from codeintel_serving import readiness as module
from codeintel_serving.models import Check, Readiness
from codeintel_serving.readiness import Board, readiness
from codeintel_serving.services import Services

NAMES = {"home", "disk", "keys", "generations", "encoder", "contract", "catalogs", "jvm", "dense_device", "tuning"}


@pytest.fixture
def fresh(workshop: Workshop, tmp_path: Path) -> Services:
    services = Services(settings_for(workshop.home), encoder=lambda: workshop.encoder)
    services.warm()
    return services


def only(found: Readiness, name: str, status: str, reason: str) -> None:
    """Only this check is not ok, for this reason."""
    assert {n for n, check in found.checks.items() if check.status != "ok"} == {name}, found
    assert found.checks[name].status == status
    assert reason in found.checks[name].reason


@pytest.mark.e2e
def test_every_check_is_named_and_ok(fresh: Services) -> None:
    found = readiness(fresh)
    assert found.checks.keys() == NAMES
    assert found.state == "ready"


@pytest.mark.e2e
def test_what_is_wrong_is_named(fresh: Services, monkeypatch: pytest.MonkeyPatch, workshop: Workshop) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "_MIN_FREE_BYTES", 1 << 62)
        only(readiness(fresh), "disk", "degraded", "GiB free")
    with monkeypatch.context() as patch:
        patch.setattr(module.os, "access", lambda _, mode: mode != os.W_OK)
        only(readiness(fresh), "home", "degraded", "read-only")
    with monkeypatch.context() as patch:
        patch.setattr(fresh.encoder, "_encoder", None)
        only(readiness(fresh), "encoder", "down", "not loaded")
        assert readiness(fresh).state == "degraded", "lexical search still answers"
    with fresh.library.pin(()) as (generation,):
        with monkeypatch.context() as patch:
            patch.setattr(type(generation.dense.primary), "dimension", 7)
            only(readiness(fresh), "contract", "down", "dimension")
        generation.catalog.close()
        only(readiness(fresh), "catalogs", "degraded", "catalog cannot be read")
    workshop.home.keys.parent.mkdir(exist_ok=True)
    workshop.home.keys.write_text("{")
    note_change()
    try:
        found = readiness(fresh)
        assert (found.state, found.checks["keys"].status) == ("down", "down")
    finally:
        workshop.home.keys.unlink()
        note_change()


@pytest.mark.e2e
def test_redis_that_does_not_answer_is_degraded(workshop: Workshop) -> None:
    settings = settings_for(workshop.home, redis_url="redis://127.0.0.1:9/0")
    with Services(settings, encoder=lambda: workshop.encoder) as services:
        services.warm()
        only(readiness(services), "redis", "degraded", "Redis does not answer")


@pytest.mark.e2e
def test_a_missing_home_is_down(tmp_path: Path, workshop: Workshop) -> None:
    from codeintel_core.home import Home

    with Services(settings_for(Home(tmp_path / "nowhere")), encoder=lambda: workshop.encoder) as services:
        found = readiness(services)
    assert (found.state, found.checks["home"].reason) == ("down", "the home folder is missing or cannot be read")


@pytest.mark.e2e
def test_draining_is_a_state_of_its_own(fresh: Services) -> None:
    fresh.drain()
    assert readiness(fresh).state == "draining"


def found(status: str) -> Readiness:
    return Readiness(state="ready", checks={"x": Check(status=status, reason="")})  # type: ignore[arg-type]


def test_the_board_looks_once_a_second_and_remembers_since_when(monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks, statuses = [0.0], [0], ["ok", "ok", "down"]

    def examine() -> Readiness:
        looks[0] += 1
        return found(statuses[looks[0] - 1])

    board = Board(examine, clock=lambda: now[0])
    first = board.state()
    assert board.state() is first
    assert looks == [1]
    board._since["x"] = ("ok", "long ago")
    now[0] = 2.0
    assert board.state().checks["x"].since == "long ago"
    now[0] = 4.0
    assert board.state().checks["x"].since != "long ago"
    assert looks == [3]


def test_checks_that_hang_are_said_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BOUND_S", 0.05)
    release, now, looks = threading.Event(), [0.0], [0]

    def examine() -> Readiness:
        looks[0] += 1
        if looks[0] == 2:
            assert release.wait(30)
        return found("ok")

    board = Board(examine, clock=lambda: now[0])
    assert board.state().checks.keys() == {"x"}
    now[0] = 2.0
    hung = board.state()
    assert (hung.state, hung.checks["checks"].status) == ("degraded", "degraded")
    assert hung.checks["x"].status == "ok"
    now[0] = 4.0
    board.state()
    assert looks == [2], "one look at a time"
    release.set()
    monkeypatch.setattr(module, "_BOUND_S", 30)
    now[0] = 6.0
    assert board.state().checks.keys() == {"x"}
