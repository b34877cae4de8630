"""A configured sparse model that is missing from the index, or does not answer, degrades and never breaks a search."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import call
from workshop import Workshop, settings_for

from codeintel_serving.models import SearchRequest
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests import tiny_splade
from tests.fake_endpoint import FakeEndpoint, said

pytestmark = pytest.mark.e2e
CLI = Caller("cli")


def test_an_index_from_before_the_model_says_that_a_build_adds_it(workshop: Workshop, tmp_path: Path) -> None:
    settings = settings_for(workshop.home, sparse_model_dir=tiny_splade.write_model(tmp_path / "tiny"))
    with Services(settings, encoder=lambda: workshop.encoder) as services:
        services.warm()
        found = services.search(SearchRequest(query="publish_generation"), CLI)
        assert found.results[0].symbol == "publish_generation"
        assert found.coverage.degraded == {"sparse": "skipped: 'shop' has no sparse index: not_configured"}
        assert "sparse" not in found.coverage.idle
        assert call(services, "status").repositories[0].sparse == "a build adds it"
        ready = readiness(services)
        assert (ready.state, ready.checks["sparse"].status) == ("degraded", "degraded")
        assert "has no sparse index of this model; build it again" in ready.checks["sparse"].reason


def test_a_dead_endpoint_is_named_by_readiness(workshop: Workshop) -> None:
    with FakeEndpoint({"/embed_sparse": said({"error": "down", "error_type": "Unhealthy"}, 500)}) as fake:
        settings = settings_for(workshop.home, sparse_base_url=fake.url, sparse_model="splade")
        with Services(settings, encoder=lambda: workshop.encoder) as services:
            services.warm()
            assert services.search(SearchRequest(query="publish_generation"), CLI).results
            checks = readiness(services).checks
            assert "500: down" in checks["sparse"].reason
            assert "500: down" in checks["sparse_model"].reason
