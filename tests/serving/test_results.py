"""Results are kept per generation and scope; what is degraded is not kept, and a hit is a step."""

from __future__ import annotations

import pytest
from workshop import Workshop, settings_for

from codeintel_core.embedding.contract import Encoder
from codeintel_core.errors import ModelUnavailable
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.traces import tables
from codeintel_core.traces.journal import days
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e
CLI = Caller("cli")


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Queries that reached the engine."""
    queries: list[str] = []
    real = SearchEngine.search

    def search(self: SearchEngine, query: str, *args: object, **kwargs: object) -> object:
        queries.append(query)
        return real(self, query, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(SearchEngine, "search", search)
    return queries


def test_the_same_question_is_searched_once_per_scope(workshop: Workshop, searched: list[str]) -> None:
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services:
        services.warm()
        first = services.search(SearchRequest(query="publish a generation"), CLI)
        again = services.search(SearchRequest(query=" publish a generation "), CLI)
        services.search(SearchRequest(query="publish a generation", limit=2), CLI)
        services.search(SearchRequest(query="publish a generation", per_file=1), CLI)
        services.search(SearchRequest(query="publish a generation", scope={"paths": ["web/**"]}), CLI)
    assert again.results == first.results
    assert again.run_id != first.run_id
    assert len(searched) == 4
    journal = workshop.home.trace_journal
    stored = tables.read_day(tables.traces(workshop.home), days(journal)[-1])
    rows = {row["run_id"]: row for row in stored.to_pylist()}
    assert "cache.results" in [stage["name"] for stage in rows[again.run_id]["stages"]]
    assert rows[again.run_id]["candidates"] == rows[first.run_id]["candidates"]


def test_a_new_generation_is_searched_again(workshop: Workshop, searched: list[str]) -> None:
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services:
        services.warm()
        before = services.search(SearchRequest(query="swap the pointer"), CLI)
        workshop.build("shop")
        services.warm()
        after = services.search(SearchRequest(query="swap the pointer"), CLI)
    assert len(searched) == 2
    assert before.index[0].generation != after.index[0].generation


def test_degraded_results_are_not_kept(workshop: Workshop, searched: list[str]) -> None:
    def broken() -> Encoder:
        raise ModelUnavailable("no model")

    with Services(settings_for(workshop.home), encoder=broken) as services:
        for _ in range(2):
            assert services.search(SearchRequest(query="publish"), CLI).coverage.degraded
    assert len(searched) == 2
