"""Vectors from an endpoint are checked before they are vectors, prefixed once, and come back in order."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

from codeintel_core.embedding.remote import RemoteEncoder, prefixes_of, vectors_of
from codeintel_core.embedding.select import contract_for, encoder_for
from codeintel_core.errors import ContractMismatch, DeadlineExceeded
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.transport import Endpoint
from codeintel_core.settings import Settings
from tests.fake_endpoint import FakeEndpoint, Reply, Request, recorded, said

PATH = "/v1/embeddings"
TEXTS = ["def add(a, b): return a + b", "class Stack: push and pop"]


def vector(text: str, dimension: int = 8) -> list[float]:
    return [float(len(text)), *([1.0] * (dimension - 1))]


def answer(request: Request) -> Reply:
    rows = [{"index": at, "embedding": vector(text)} for at, text in enumerate(request.body["input"])]
    return said({"data": rows[::-1]})  # any order


@pytest.fixture
def fake() -> Iterator[FakeEndpoint]:
    with FakeEndpoint({"/v1/models": recorded("models-embed"), PATH: answer}) as running:
        yield running


Open = Callable[..., RemoteEncoder]


@pytest.fixture
def opened(fake: FakeEndpoint) -> Iterator[Open]:
    """Opens encoders of the fake that are closed with the test."""
    with ExitStack() as stack:

        def make(model: str = "minilm", **changes: Any) -> RemoteEncoder:
            encoder = RemoteEncoder(Endpoint("embed", fake.url, model), **{"query_s": 10.0, **changes})
            stack.callback(encoder.close)
            return encoder

        yield make


def test_the_contract_is_what_was_probed(opened: Open) -> None:
    contract = opened().contract
    assert (contract.dimension, contract.revision, contract.max_tokens) == (8, "models/minilm", 256)
    assert (contract.query_prefix, contract.document_prefix) == ("", "")


def test_order_norm_and_dtype(opened: Open) -> None:
    texts = ["x" * n for n in (5, 1, 300, 2)]
    found = opened().encode_documents(texts)
    assert (found.shape, found.dtype) == ((4, 8), np.float32)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.argsort(found[:, 0]).tolist() == [1, 3, 0, 2]
    assert opened().encode_documents([]).shape == (0, 8)


def test_prefixes_are_part_of_the_contract_and_added_once(opened: Open, fake: FakeEndpoint) -> None:
    encoder = opened("nomic-ai/nomic-embed-text-v1.5")
    encoder.encode_documents(["a"])
    encoder.encode_query("b")
    asked = [request.body["input"] for request in fake.asked(PATH)]
    assert asked[-2:] == [["search_document: a"], ["search_query: b"]]
    other = opened("nomic-ai/nomic-embed-text-v1.5", query_prefix="q: ")
    assert other.contract.contract_id != encoder.contract.contract_id
    assert prefixes_of("Qwen/Qwen3-Embedding-0.6B")[0].startswith("Instruct: ")


def test_a_recorded_server_in_both_encodings(fake: FakeEndpoint, opened: Open) -> None:
    bodies = {}
    for name in ("embed-float", "embed-base64"):
        reply = recorded(name)
        bodies[name] = vectors_of(json.loads(reply.chunks[0]), 2)
    assert bodies["embed-float"].shape == (2, 384)
    assert np.allclose(bodies["embed-float"], bodies["embed-base64"], atol=1e-6)


def test_batches_stay_within_the_limits(fake: FakeEndpoint, opened: Open) -> None:
    encoder = opened()
    encoder.encode_documents([f"text {n}" for n in range(300)] + ["long " * 20_000])
    sizes = [len(request.body["input"]) for request in fake.asked(PATH)[1:]]
    assert sum(sizes) == 301
    assert max(sizes) <= 128


def test_one_too_long_text_is_found_and_cut(fake: FakeEndpoint, opened: Open) -> None:
    encoder = opened()
    too_long = recorded("embed-one-of-two-too-long")
    fake.routes[PATH] = lambda request: too_long if max(map(len, request.body["input"])) > 100 else answer(request)
    texts = [f"text {n:04}" for n in range(20)]
    found = encoder.encode_documents([*texts[:9], "x" * 350, *texts[9:]])
    alone = encoder.encode_documents(["x" * 87])
    assert np.allclose(found[9], alone[0])
    assert np.allclose(np.delete(found, 9, axis=0), encoder.encode_documents(texts))


def rows(*embeddings: Any, indexes: list[Any] | None = None) -> Reply:
    return said({"data": [{"index": i, "embedding": e} for i, e in zip(indexes or range(9), embeddings, strict=False)]})


def encoded(*values: float) -> str:
    return base64.b64encode(np.array(values, "<f4").tobytes()).decode()


BAD = {
    "short": rows(vector("a")),
    "doubled index": rows(vector("a"), vector("b"), indexes=[0, 0]),
    "foreign index": rows(vector("a"), vector("b"), indexes=[0, 2]),
    "null elements": rows(vector("a"), [None] * 8),
    "NaN bytes": rows(encoded(*vector("a")), encoded(*[float("nan")] * 8)),
    "infinite": rows(encoded(*vector("a")), encoded(*[float("inf")] * 8)),
    "zero": rows(vector("a"), [0.0] * 8),
    "mixed dimensions": rows(vector("a"), vector("b", 9)),
    "no vector": rows(vector("a"), "not base64!"),
    "odd bytes": rows(vector("a"), "AAA="),
    "words": rows(vector("a"), ["x"] * 8),
    "empty": rows([], []),
    "no data": said({"object": "list"}),
    "recorded NaN": recorded("embed-nan-float"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer_is_refused(fake: FakeEndpoint, opened: Open, name: str) -> None:
    encoder = opened()
    fake.routes[PATH] = BAD[name]
    with pytest.raises(EndpointFailed, match="the embed endpoint"):
        encoder.encode_documents(TEXTS)


def test_recorded_nan_bytes_are_refused(fake: FakeEndpoint, opened: Open) -> None:
    encoder = opened()
    fake.routes[PATH] = recorded("embed-nan-base64")
    with pytest.raises(EndpointFailed, match="not finite"):
        encoder.encode_query("x")


def test_another_dimension_than_probed_is_a_mismatch(fake: FakeEndpoint, opened: Open) -> None:
    encoder = opened()
    fake.routes[PATH] = rows(vector("a", 16), vector("b", 16))
    with pytest.raises(ContractMismatch, match="dimension 16"):
        encoder.encode_documents(TEXTS)


def test_a_query_has_its_own_deadline(fake: FakeEndpoint, opened: Open) -> None:
    encoder = opened(query_s=0.2)
    fake.routes[PATH] = Reply(200, [], hangs=True)
    with pytest.raises(DeadlineExceeded):
        encoder.encode_query("x")


def test_the_settings_choose_one_encoder_per_process(fake: FakeEndpoint) -> None:
    local = Settings()
    remote = Settings(embed_base_url=fake.url, embed_model="minilm")
    assert contract_for(local).contract_id != contract_for(remote).contract_id
    encoder = encoder_for(remote)
    assert encoder is encoder_for(remote)
    assert encoder.contract == contract_for(remote)
    assert len(fake.asked(PATH)) == 1


def test_nobody_listens() -> None:
    with FakeEndpoint({}) as gone:
        pass
    with pytest.raises(EndpointFailed, match="cannot be reached"):
        contract_for(Settings(embed_base_url=gone.url, embed_model="x"))
