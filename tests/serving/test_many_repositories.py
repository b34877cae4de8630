"""A bound on open repositories, as callers see it: what was left out is named; readiness and status tell the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tenants import Tenant
from workshop import Workshop, settings_for

from codeintel_core.deadline import Deadline
from codeintel_serving.models import SearchRequest, StatusRequest
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools import status

pytestmark = pytest.mark.e2e

CALLER = Caller("rest")


@pytest.fixture
def narrow(shared: Workshop, tenants: tuple[Tenant, Tenant]) -> Iterator[Services]:
    """Services that keep one repository open."""
    settings = settings_for(shared.home, open_generations=1)
    with Services(settings, encoder=lambda: shared.encoder) as services:
        yield services


def test_what_a_search_left_out_is_named(narrow: Services) -> None:
    first, *others = narrow.home.repository_names()
    found = narrow.search(SearchRequest(query="journal"), CALLER)
    assert found.coverage.searched == [first]
    assert list(found.coverage.left_out) == others
    (warning,) = [text for text in found.warnings if "not searched" in text]
    assert warning.startswith(f"{len(others)} repositories were not searched (more than the 1 that may be open")
    assert all(name in warning for name in others)
    one = narrow.search(SearchRequest.model_validate({"query": "journal", "scope": {"repos": others[:1]}}), CALLER)
    assert (one.coverage.searched, one.coverage.left_out) == (others[:1], {})


def test_readiness_counts_what_is_open_and_opens_nothing_more(narrow: Services) -> None:
    narrow.warm(deadline=Deadline.after(0))
    found = readiness(narrow)  # nothing was open: it looks whether anything can serve
    assert (found.repositories, found.open, found.verified) == (len(narrow.home.repository_names()), 1, 1)
    assert found.checks["generations"].status == "ok"
    assert readiness(narrow).verified == 1


def test_status_of_many_opens_none(narrow: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "_MOST_OPENED", 0)
    narrow.search(SearchRequest(query="journal"), CALLER)
    found = status._status(narrow, StatusRequest(), CALLER, Deadline.after(60))
    opened, *others = found.repositories
    assert opened.index is not None
    assert {(state.problem, state.index) for state in others} == {(status._NOT_OPEN, None)}
    assert all(state.chunks > 0 for state in others)
    assert narrow.library.open_set.verified == 1
