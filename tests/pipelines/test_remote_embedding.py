"""Switching to a remote embedding model builds a new generation; vectors of two models never meet."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from benchmarks.plain_build import build
from codeintel_core.embedding.select import contract_for, encoder_for
from codeintel_core.errors import ModelUnavailable
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status
from tests.conftest import Repo
from tests.fake_endpoint import FakeEndpoint, Reply, Request, said
from tests.pipelines.conftest import opened

pytestmark = pytest.mark.e2e
DIMENSION = 64


def embed(request: Request) -> Reply:
    """Words hashed into places, so that equal words make near vectors."""
    rows = []
    for index, text in enumerate(request.body["input"]):
        vector = [0.01] * DIMENSION
        for word in text.replace("(", " ").replace("_", " ").split():
            vector[zlib.crc32(word.lower().encode()) % DIMENSION] += 1
        rows.append({"index": index, "embedding": vector})
    return said({"data": rows})


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    with FakeEndpoint({"/v1/embeddings": embed}) as running:
        yield running


def dense(home: Home, settings: Settings, manifest: object) -> tuple[Status, str, int]:
    engine = SearchEngine(settings.model_copy(update={"retrieval_budget_ms": 30_000}), lambda: encoder_for(settings))
    generation = opened(home, manifest)  # type: ignore[arg-type]
    try:
        found = engine.search("tokenize expression", [generation], scope=Scope(), limit=5)
    finally:
        engine.close()
    result = found.channels["dense"]
    return result.status, result.reason, len(result.ranked[0])


def test_switching_the_model(home: Home, source: Repo, fake: FakeEndpoint) -> None:
    mirror.add(home, str(source.path), name="calculator")
    local = Settings(home=home.root)
    remote = Settings(home=home.root, embed_base_url=fake.url, embed_model="words", retrieval_budget_ms=30_000)
    first = build(home, local, "calculator")
    second = build(home, remote, "calculator")
    assert second.gen_id != first.gen_id
    assert second.commit == first.commit
    assert (second.contract.model, second.contract.dimension) == ("words", DIMENSION)
    assert second.contract == contract_for(remote)
    assert (second.counts.primary, second.counts.secondary) == (second.counts.chunks, 0)

    assert dense(home, remote, second)[0] is Status.COMPLETED
    for settings, manifest in ((local, second), (remote, first)):
        status, reason, hits = dense(home, settings, manifest)
        assert (status, hits) == (Status.FAILED, 0)
        assert "embedding contract differs" in reason

    asked = len(fake.asked("/v1/embeddings"))
    assert build(home, remote, "calculator", force=True).counts.chunks == second.counts.chunks
    texts = [text for request in fake.asked("/v1/embeddings")[asked:] for text in request.body["input"]]
    assert len(texts) < second.counts.chunks + 5  # smoke queries only: documents come from the cache


def test_an_endpoint_that_is_gone_publishes_nothing(home: Home, source: Repo) -> None:
    with FakeEndpoint({}) as gone:
        pass
    mirror.add(home, str(source.path), name="calculator")
    first = build(home, Settings(home=home.root), "calculator")
    with pytest.raises(ModelUnavailable, match="cannot be reached"):
        build(home, Settings(home=home.root, embed_base_url=gone.url, embed_model="x"), "calculator")
    assert current_id(home.repository("calculator")) == first.gen_id
