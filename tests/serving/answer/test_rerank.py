"""Reranking changes the order when it can and never costs an answer; readiness asks each endpoint a real question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from hits import hit
from workshop import Workshop, settings_for

from codeintel_core.deadline import Deadline
from codeintel_core.models import score
from codeintel_core.retrieval.engine import SearchResult
from codeintel_core.retrieval.profile import profile
from codeintel_serving.answer import orchestrator
from codeintel_serving.answer.rerank import rerank
from codeintel_serving.models import AnswerRequest, AnswerResponse
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.fake_endpoint import FakeEndpoint, Reply, Request, completion, recorded, said, streamed

pytestmark = pytest.mark.e2e

QUESTION = "how is a generation published and swapped?"


@pytest.fixture
def reranker() -> Iterator[FakeEndpoint]:
    """A reranker that likes the pointer best."""

    def prefer(request: Request) -> Reply:
        documents = request.body["documents"]
        likes = [float("swap_pointer\n" in document) for document in documents]
        return said({"data": [{"index": at, "score": like} for at, like in enumerate(likes)]})

    with FakeEndpoint({score.PATH: prefer}) as fake:
        yield fake


def wire(workshop: Workshop, fake: FakeEndpoint, **changes: Any) -> Services:
    changes = {"rerank_budget_ms": 20_000, **changes}  # whatever else the machine does
    settings = settings_for(workshop.home, rerank_base_url=fake.url, rerank_model="tiny", **changes)
    services = Services(settings, encoder=lambda: workshop.encoder)
    services.warm()
    return services


def asked(services: Services, question: str = QUESTION, **changes: Any) -> AnswerResponse:
    async def work() -> AnswerResponse:
        try:
            return await orchestrator.answer(services, AnswerRequest(question=question, **changes), Caller("cli"))
        finally:
            await services.aclose()

    return asyncio.run(work())


def stage(answer: AnswerResponse) -> tuple[str, str]:
    (found,) = [(s.status, s.reason) for s in answer.stages if s.name == "rerank"]
    return found


def test_the_rerankers_order_is_the_order_of_the_citations(workshop: Workshop, reranker: FakeEndpoint) -> None:
    with wire(workshop, reranker) as services:
        answer = asked(services, top_k=3)
    assert stage(answer) == ("completed", "")
    assert answer.citations[0].symbol == "swap_pointer"
    assert len(reranker.requests[0].body["documents"]) > 3
    assert 0 <= answer.confidence.value <= 1


def test_only_the_best_are_read_and_the_others_stay_behind_them(workshop: Workshop, reranker: FakeEndpoint) -> None:
    with wire(workshop, reranker) as services:
        asked(services, top_k=1, rerank_top_n=3)
        assert len(reranker.requests[0].body["documents"]) == 3
        hits = [hit(f"{name}\n", rank=rank) for rank, name in enumerate(["first", "swap_pointer", "swap_pointer"], 1)]
        found = SearchResult(hits, profile(QUESTION), {}, len(hits))

        async def order(read: int) -> list[int]:
            try:
                reranked = await rerank(services.reranker, QUESTION, found, 3, Deadline.after(20), read=read)
            finally:
                await services.aclose()
            return [hit.chunk.chunk_id for hit in reranked.found.hits]

        assert asyncio.run(order(2)) == [2, 1, 3]
        assert asyncio.run(order(3)) == [2, 3, 1]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (recorded("embed-no-key"), "failed"),
        (said({"data": []}), "failed"),
        (Reply(500, [b"<html>"]), "failed"),
        (Reply(200, [], hangs=True), "timed_out"),
    ],
)
def test_without_scores_the_old_order_stays(
    workshop: Workshop, services: Services, reranker: FakeEndpoint, reply: Reply, status: str
) -> None:
    reranker.routes[score.PATH] = reply
    with wire(workshop, reranker, rerank_budget_ms=300) as wired:
        answer = asked(wired)
    assert stage(answer)[0] == status
    assert answer.limits[0].startswith("not reranked: the rerank endpoint")
    assert [c.symbol for c in answer.citations] == [c.symbol for c in asked(services).citations]


def test_a_name_is_not_reranked(workshop: Workshop, reranker: FakeEndpoint) -> None:
    with wire(workshop, reranker) as services:
        answer = asked(services, "publish_generation")
    assert stage(answer) == ("skipped", "identifier query")
    assert not reranker.requests


def test_readiness_probes_every_endpoint_and_remembers(workshop: Workshop, reranker: FakeEndpoint) -> None:
    reranker.routes["/v1/chat/completions"] = recorded("chat-503-queue-full")
    with wire(workshop, reranker, chat_base_url=reranker.url, chat_model="tiny") as services:
        for _ in range(2):
            found = readiness(services)
            assert found.state == "degraded"
            assert found.checks["rerank_model"].status == "ok"
            assert "busy" in found.checks["chat_model"].reason
    assert len(reranker.asked(score.PATH)) == 1


def test_ready_when_all_endpoints_answer(workshop: Workshop, reranker: FakeEndpoint) -> None:
    reranker.routes["/v1/chat/completions"] = said({"choices": [{"message": {"content": "x"}}]})
    with wire(workshop, reranker, chat_base_url=reranker.url, chat_model="tiny") as services:
        assert readiness(services).state == "ready"


def test_reranked_and_generated_together(workshop: Workshop, reranker: FakeEndpoint) -> None:
    reranker.routes["/v1/models"] = said({"data": []})
    reranker.routes["/v1/chat/completions"] = streamed(completion(["It swaps the pointer at once [1]."]))
    with wire(workshop, reranker, chat_base_url=reranker.url, chat_model="tiny") as services:
        answer = asked(services)
    assert [c.symbol for c in answer.citations] == ["swap_pointer"]
    assert answer.limits == []
