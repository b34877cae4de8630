"""The pipeline keeps its deadline, stops when its reader leaves, and writes a trace however it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from running import until
from workshop import Workshop, settings_for

from codeintel_core.errors import DeadlineExceeded, RetrievalUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.traces import tables
from codeintel_serving.answer import orchestrator
from codeintel_serving.answer.events import StageEvent, TraceEvent
from codeintel_serving.models import AnswerRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.tasks import assert_none_goes_on

pytestmark = pytest.mark.e2e

REQUEST = AnswerRequest(question="how is a generation published atomically?")
RUN_ID = "0b1e7c64-2f6e-4f62-9a0e-6f8f4a7b9c1d"


@pytest.fixture
def fresh(workshop: Workshop) -> Iterator[Services]:
    """Services of their own, so that a hung engine disturbs no other test."""
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services:
        yield services


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Retrieval hangs until the event is set."""
    release = threading.Event()

    def search(*_: Any, **__: Any) -> Any:
        release.wait(30)
        raise RetrievalUnavailable("released")

    monkeypatch.setattr(SearchEngine, "search", search)
    yield release
    release.set()


def last_row(workshop: Workshop) -> dict[str, Any]:
    row: dict[str, Any] = tables.read_day(tables.traces(workshop.home), f"{datetime.now(UTC):%Y-%m-%d}").to_pylist()[-1]
    return row


def is_open(generation: Generation) -> bool:
    if not generation.acquire():
        return False
    generation.release()
    return True


def test_a_hung_stage_ends_at_the_deadline(fresh: Services, workshop: Workshop, hung: threading.Event) -> None:
    request = REQUEST.model_copy(update={"time_budget_ms": 300})
    with pytest.raises(DeadlineExceeded, match="300 ms"):
        asyncio.run(orchestrator.answer(fresh, request, Caller("cli")))
    assert not hung.is_set()
    assert (last_row(workshop)["status"], last_row(workshop)["error"]) == ("error", "deadline-exceeded")


def test_generations_stay_pinned_until_a_hung_stage_returns(
    fresh: Services, workshop: Workshop, hung: threading.Event
) -> None:
    with fresh.library.pin(["shop"]) as (generation,):
        pass
    request = REQUEST.model_copy(update={"time_budget_ms": 300})
    with pytest.raises(DeadlineExceeded):
        asyncio.run(orchestrator.answer(fresh, request, Caller("cli")))
    generation.retire()
    assert is_open(generation)  # for the thread that hangs
    hung.set()
    until(lambda: not is_open(generation))


def test_closing_the_generator_cancels_the_pipeline(fresh: Services, workshop: Workshop) -> None:
    async def leave_early() -> None:
        stream = orchestrator.events(fresh, REQUEST, Caller("rest", RUN_ID))
        async for event in stream:
            assert isinstance(event, StageEvent)
            break
        await stream.aclose()
        await assert_none_goes_on()

    asyncio.run(leave_early())
    row = last_row(workshop)
    assert (row["run_id"], row["status"]) == (RUN_ID, "cancelled")


def test_a_reader_that_leaves_while_a_stage_hangs(fresh: Services, workshop: Workshop, hung: threading.Event) -> None:
    async def leave() -> None:
        stream = orchestrator.events(fresh, REQUEST, Caller("mcp"))
        assert isinstance(await anext(stream), StageEvent)  # the scope; retrieval hangs
        await stream.aclose()

    asyncio.run(leave())
    assert not hung.is_set()
    assert last_row(workshop)["status"] == "cancelled"


def test_the_trace_is_last_and_says_what_stopped_it(fresh: Services, hung: threading.Event) -> None:
    async def collect() -> list[Any]:
        hung.set()
        return [event async for event in orchestrator.events(fresh, REQUEST, Caller("cli"))]

    events = asyncio.run(collect())
    assert isinstance(events[-1], TraceEvent)
    assert events[-1].row["error"] == "retrieval-unavailable"
