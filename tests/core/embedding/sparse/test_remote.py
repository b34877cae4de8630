"""Sparse vectors over HTTP, in both wire forms; what is no sparse vector is refused and never reaches an index."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from codeintel_core.embedding.sparse.remote import OPENAI_PATH, TEI_PATH, RemoteSparseEncoder
from codeintel_core.embedding.sparse.select import sparse_contract_for, sparse_encoder_for
from codeintel_core.errors import ContractMismatch, DeadlineExceeded, ModelUnavailable
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.transport import Endpoint, Policy
from codeintel_core.settings import Settings
from tests.fake_endpoint import FakeEndpoint, Reply, Request, recorded, said

_INFO = {"model_id": "naver/splade-v3", "model_sha": "abc", "max_input_length": 512}
WIDTH = 16


def term(text: str) -> int:
    return len(text) % WIDTH


def tei(request: Request) -> Reply:
    """As Text Embeddings Inference answers `POST /embed_sparse` (its openapi.json)."""
    return said([[{"index": term(text), "value": 1.25}] for text in request.body["inputs"]])


def vllm(request: Request) -> Reply:
    """As vLLM answers `POST /v1/embeddings` for a SPLADE model: a weight for every term, base64."""
    rows = []
    for at, text in enumerate(request.body["input"]):
        vector = np.zeros(WIDTH, "<f4")
        vector[term(text)] = 1.25
        rows.append({"index": at, "object": "embedding", "embedding": base64.b64encode(vector.tobytes()).decode()})
    return said({"object": "list", "data": rows[::-1]})


FORMS: dict[str, dict[str, Any]] = {
    "tei": {TEI_PATH: tei, "/info": said(_INFO)},
    "vllm": {OPENAI_PATH: vllm, "/v1/models": recorded("models-embed")},
}


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fake(form: str) -> Iterator[FakeEndpoint]:
    with FakeEndpoint(dict(FORMS[form])) as running:
        yield running


Open = Callable[..., RemoteSparseEncoder]


@pytest.fixture
def opened() -> Iterator[Open]:
    with ExitStack() as stack:

        def make(fake: FakeEndpoint, policy: Policy | None = None, query_s: float = 10.0) -> RemoteSparseEncoder:
            endpoint = Endpoint("sparse", fake.url, "minilm", "secret", policy)
            encoder = RemoteSparseEncoder(endpoint, query_s=query_s, document_terms=4, query_terms=2)
            stack.callback(encoder.close)
            return encoder

        yield make


def test_both_forms_are_found_out_and_give_the_same(fake: FakeEndpoint, form: str, opened: Open) -> None:
    encoder = opened(fake)
    contract = encoder.contract
    known = {"tei": ("naver/splade-v3", "abc", 0, 512), "vllm": ("minilm", "models/minilm", WIDTH, 256)}[form]
    assert (contract.model, contract.revision, contract.vocabulary, contract.max_tokens) == known
    texts = ["x" * size for size in (5, 1, 9, 3)] * 20
    assert [found.tolist() for found in encoder.encode_documents(texts)] == [[[len(text), 125]] for text in texts]
    assert encoder.encode_query("abc").tolist() == [[3, 125]]
    assert encoder.encode_documents([]) == []
    route = {"tei": TEI_PATH, "vllm": OPENAI_PATH}[form]
    bodies = [request.body for request in fake.asked(route)]
    assert max(len(body.get("inputs", body.get("input"))) for body in bodies) <= 32
    assert all(body.get("truncate") is True or body.get("truncate_prompt_tokens") == -1 for body in bodies)
    assert fake.asked(route)[-1].headers["authorization"] == "Bearer secret"


def _tei(*weights: object, index: object = 1) -> Reply:
    return said([[{"index": index, "value": weight} for weight in weights]])


def _vllm(*weights: float) -> Reply:
    return said({"data": [{"index": 0, "embedding": list(weights)}]})


@pytest.mark.parametrize(
    ("form", "reply", "reason"),
    [
        ("tei", _tei(-1.0), "negative weights"),
        ("tei", _tei(None), "not finite"),
        ("tei", _tei(1e9), "sparse weights are 0..100"),
        ("tei", _tei(1.0, 1.0), "a term twice"),
        ("tei", _tei(1.0, index=10**9), "outside its vocabulary"),
        ("tei", _tei(1.0, index="a"), "not a list of"),
        ("tei", said([]), "0 vectors for 1 texts"),
        ("tei", said({"error": "x"}), "no vectors"),
        ("tei", said([["x"]]), "not a list of"),
        ("vllm", recorded("embed-nan-float"), "Out of range float values"),
        ("vllm", _vllm(0.1, -0.2, 0.3), "negative weights: it is not a sparse"),  # a dense model
        ("vllm", said({"data": [{"index": 0, "embedding": "%%"}]}), "not a vector of numbers"),
        ("vllm", said({"data": [{"index": 1, "embedding": [1.0]}]}), "indexes are not those"),
    ],
)
def test_nonsense_is_refused_when_it_is_probed(form: str, reply: Reply, reason: str, opened: Open) -> None:
    route = {"tei": TEI_PATH, "vllm": OPENAI_PATH}[form]
    with FakeEndpoint({**FORMS[form], route: reply}) as fake, pytest.raises(EndpointFailed, match=reason) as caught:
        opened(fake)
    assert caught.value.role == "sparse"
    assert "secret" not in str(caught.value)


def test_another_vocabulary_later_is_a_mismatch(opened: Open) -> None:
    with FakeEndpoint(dict(FORMS["vllm"])) as fake:
        encoder = opened(fake)
        fake.routes[OPENAI_PATH] = _vllm(0.0, 1.0)
        with pytest.raises(ContractMismatch, match="a vocabulary of 2, it was probed with 16"):
            encoder.encode_query("abc")


def test_an_endpoint_that_dies_is_left_alone_after_a_few_failures(opened: Open) -> None:
    with FakeEndpoint(dict(FORMS["tei"])) as fake:
        encoder = opened(fake, Policy(attempts=1, breaker_failures=2, breaker_cool_down_s=60))
        fake.routes[TEI_PATH] = said({"error": "gone", "error_type": "Unhealthy"}, 500)
        for _ in range(2):
            with pytest.raises(EndpointFailed, match="500: gone"):
                encoder.encode_query("abc")
        asked = len(fake.requests)
        with pytest.raises(EndpointFailed, match="left alone"):
            encoder.encode_query("abc")
        assert len(fake.requests) == asked


def test_a_query_that_hangs_ends_at_its_deadline(opened: Open) -> None:
    with FakeEndpoint(dict(FORMS["tei"])) as fake:
        encoder = opened(fake, query_s=0.2)
        fake.routes[TEI_PATH] = Reply(200, [b"["], hangs=True)
        with pytest.raises(DeadlineExceeded):
            encoder.encode_query("abc")


def test_the_settings_choose(fake: FakeEndpoint) -> None:
    assert sparse_contract_for(Settings()) is None
    assert sparse_encoder_for(Settings()) is None
    settings = Settings(sparse_base_url=fake.url, sparse_model="minilm", sparse_query_terms=3)
    encoder = sparse_encoder_for(settings)
    assert encoder is not None
    assert encoder is sparse_encoder_for(settings)  # one per process: its breaker is shared
    assert sparse_contract_for(settings) == encoder.contract
    assert encoder.contract.query_terms == 3


def test_an_endpoint_without_a_sparse_route_is_refused() -> None:
    with FakeEndpoint({}) as fake:
        settings = Settings(sparse_base_url=fake.url, sparse_model="minilm")
        with pytest.raises(ModelUnavailable, match="404"):
            sparse_contract_for(settings)
