"""Sparse vectors from a server, checked before they are used. Two wire forms, told apart by asking once:

- Text Embeddings Inference: `POST /embed_sparse`, a list of {index, value} for each text;
- vLLM (`BertSpladeSparseEmbeddingModel`): `POST /v1/embeddings`, a weight for every term of the vocabulary.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.remote import raw_vectors
from codeintel_core.embedding.sparse.contract import IMPACTS_PER_UNIT, Impacts, SparseContract, impacts_of
from codeintel_core.embedding.text import TEXT_VERSION
from codeintel_core.errors import ContractMismatch
from codeintel_core.models.blocking import Blocking
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.transport import Endpoint

TEI_PATH, OPENAI_PATH = "/embed_sparse", "/v1/embeddings"
_BATCH_TEXTS = 32  # what Text Embeddings Inference takes by default
_PROBE_S = 10.0
_BATCH_S = 120.0
_ABSENT = (404, 405)


@dataclass(frozen=True, slots=True)
class Answer:
    """Impacts of the texts that were sent."""

    impacts: list[Impacts]
    vocabulary: int  # 0 where only the terms that are not 0 are sent
    path: str


class RemoteSparseEncoder:
    """`SparseEncoder` over HTTP; safe to call from several threads at once. Close it to stop its thread."""

    def __init__(self, endpoint: Endpoint, *, query_s: float, document_terms: int, query_terms: int) -> None:
        """Probe the endpoint with one text.

        Args:
            endpoint: the sparse endpoint.
            query_s: most time for encoding one query.
            document_terms: most terms of a document.
            query_terms: most terms of a query.

        Raises:
            EndpointFailed, DeadlineExceeded: it does not answer, or not with sparse weights.
        """
        self._endpoint, self._query_s = endpoint, query_s
        self._terms = (document_terms, query_terms)
        self._blocking = Blocking(endpoint)
        try:
            self._path, self._contract = self._blocking.wait(self._probe())
        except BaseException:
            self.close()
            raise

    @property
    def contract(self) -> SparseContract:
        """The contract of every vector this encoder returns."""
        return self._contract

    def encode_documents(self, texts: Sequence[str]) -> list[Impacts]:
        """Impacts of each text, in the order given; the server cuts texts that are too long for its model.

        Raises:
            EndpointFailed, DeadlineExceeded: the endpoint does not answer, or not with sparse weights.
            ContractMismatch: its vocabulary is not the one it was probed with.
        """
        return self._blocking.wait(self._encode(texts, self._contract.document_terms, _BATCH_S))

    def encode_query(self, text: str) -> Impacts:
        """Impacts of a query; raises as `encode_documents` does."""
        return self._blocking.wait(self._encode([text], self._contract.query_terms, self._query_s))[0]

    def close(self) -> None:
        """Close the connections and stop the thread."""
        self._blocking.close()

    async def _probe(self) -> tuple[str, SparseContract]:
        deadline = Deadline.after(_PROBE_S)
        answer = await ask_sparse(self._endpoint, ["probe"], 1, deadline)
        if answer.path == TEI_PATH:
            info = await self._facts("/info", deadline)
            model, revision = str(info.get("model_id") or self._endpoint.model), str(info.get("model_sha") or "")
            max_tokens = info.get("max_input_length")
        else:
            listed = (await self._facts("/v1/models", deadline)).get("data")
            rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
            row = next((row for row in rows if row.get("id") == self._endpoint.model), {})
            model, revision = self._endpoint.model, str(row.get("root") or "")
            max_tokens = row.get("max_model_len")
        return answer.path, SparseContract(
            model=model,
            revision=revision,
            vocabulary=answer.vocabulary,
            max_tokens=max_tokens if isinstance(max_tokens, int) else 0,
            document_terms=self._terms[0],
            query_terms=self._terms[1],
            impacts_per_unit=IMPACTS_PER_UNIT,
            text_version=TEXT_VERSION,
        )

    async def _facts(self, path: str, deadline: Deadline) -> dict[str, Any]:
        """What the server says of itself, {} when it has no such route."""
        try:
            found = await self._endpoint.json("GET", path, None, deadline)
        except EndpointFailed as error:
            if error.status not in _ABSENT:
                raise
            return {}
        return found if isinstance(found, dict) else {}

    async def _encode(self, texts: Sequence[str], most: int, seconds: float) -> list[Impacts]:
        batches = list(_batches(texts))
        tasks = [
            asyncio.create_task(self._batch([texts[at] for at in batch], most, Deadline.after(seconds)))
            for batch in batches
        ]
        found: list[Impacts] = [np.empty((0, 2), np.int32)] * len(texts)
        try:
            for batch, answer in zip(batches, await asyncio.gather(*tasks), strict=True):
                for position, impacts in zip(batch, answer, strict=True):
                    found[position] = impacts
        finally:
            for task in tasks:
                task.cancel()  # of the others, when one failed
        return found

    async def _batch(self, texts: Sequence[str], most: int, deadline: Deadline) -> list[Impacts]:
        vocabulary = self._contract.vocabulary
        answer = await ask_sparse(self._endpoint, texts, most, deadline, path=self._path, vocabulary=vocabulary)
        if answer.vocabulary != vocabulary:
            raise ContractMismatch(
                f"{self._endpoint.where} answered with a vocabulary of {answer.vocabulary}, it was probed with "
                f"{vocabulary}; restart, then rebuild the index"
            )
        return answer.impacts


async def ask_sparse(
    endpoint: Endpoint, texts: Sequence[str], most: int, deadline: Deadline, *, path: str = "", vocabulary: int = 0
) -> Answer:
    """Ask for impacts; without a path both wire forms are tried.

    Raises:
        EndpointFailed, DeadlineExceeded: the endpoint does not answer, or not with sparse weights.
    """
    if not path:
        try:
            return await ask_sparse(endpoint, texts, most, deadline, path=TEI_PATH)
        except EndpointFailed as error:
            if error.status not in _ABSENT:
                raise
        return await ask_sparse(endpoint, texts, most, deadline, path=OPENAI_PATH)
    clean = [(text if text.isascii() else text.encode("utf-8", "replace").decode()) or " " for text in texts]
    if path == TEI_PATH:
        body: dict[str, Any] = {"inputs": clean, "truncate": True}
    else:
        body = {
            "model": endpoint.model,
            "input": clean,
            "encoding_format": "base64",
            "truncate_prompt_tokens": -1,
        }
    found = await endpoint.json("POST", path, body, deadline)
    try:
        if path == TEI_PATH:
            return Answer(impacts_of_lists(found, len(texts), most, vocabulary), 0, path)
        return Answer(*impacts_of_vectors(found, len(texts), most), path)
    except ValueError as error:
        raise endpoint.failed(str(error)) from None


def impacts_of_lists(found: Any, count: int, most: int, vocabulary: int = 0) -> list[Impacts]:
    """What `/embed_sparse` answered for `count` texts; raises ValueError saying what is wrong."""
    if not isinstance(found, list) or len(found) != count:
        raise ValueError(f"answered {len(found) if isinstance(found, list) else 'no'} vectors for {count} texts")
    out = []
    for row in found:
        pairs: list[Any] = row if isinstance(row, list) else [None]
        if not all(isinstance(pair, dict) and isinstance(pair.get("index"), int) for pair in pairs):
            raise ValueError("answered something that is not a list of {index, value}")
        terms, weights = [pair["index"] for pair in pairs], [pair.get("value") for pair in pairs]
        out.append(impacts_of(terms, weights, vocabulary=vocabulary, most=most))
    return out


def impacts_of_vectors(found: Any, count: int, most: int) -> tuple[list[Impacts], int]:
    """What `/v1/embeddings` answered for `count` texts, and its vocabulary; raises ValueError saying what is wrong."""
    matrix = raw_vectors(found, count)
    width = matrix.shape[1]
    out = []
    for row in matrix:
        active = np.flatnonzero(row)  # NaN is not zero
        out.append(impacts_of(active, row[active], vocabulary=width, most=most))
    return out, width


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Positions of texts, shortest first: a batch costs as much as its longest text."""
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    for start in range(0, len(order), _BATCH_TEXTS):
        yield order[start : start + _BATCH_TEXTS]
