"""Embeddings from an OpenAI-compatible endpoint, as a contract: what came back is checked before it is a vector.

The dimension is probed, never assumed. Query and document prefixes belong to the contract and are added here only.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.embedding.text import TEXT_VERSION
from codeintel_core.errors import ContractMismatch
from codeintel_core.models.blocking import Blocking
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.transport import Endpoint

PREFIXES: dict[str, tuple[str, str]] = {
    "nomic-embed-text": ("search_query: ", "search_document: "),
    "qwen3-embedding": (
        "Instruct: Given a question about code, retrieve the code that answers it\nQuery:",
        "",
    ),
}
"""Part of a model's name -> (query prefix, document prefix), from the models' cards; others have none."""

_BYTES_PER_TOKEN = 3
_BATCH_TOKENS = 16_384
_BATCH_TEXTS = 128
_PROBE_S = 10.0
_BATCH_S = 120.0
_HALVINGS = 8


def prefixes_of(model: str) -> tuple[str, str]:
    """Query and document prefix of a model."""
    return next((pair for part, pair in PREFIXES.items() if part in model.lower()), ("", ""))


class RemoteEncoder:
    """`Encoder` over `/v1/embeddings`; safe to call from several threads at once. Close it to stop its thread."""

    def __init__(
        self, endpoint: Endpoint, *, query_s: float, query_prefix: str | None = None, document_prefix: str | None = None
    ) -> None:
        """Probe the endpoint with one text.

        Args:
            endpoint: the embedding endpoint.
            query_s: most time for embedding one query.
            query_prefix: overrides the table `PREFIXES`.
            document_prefix: the same for documents.

        Raises:
            EndpointFailed, DeadlineExceeded: it does not answer, or not with a vector.
        """
        self._endpoint, self._query_s = endpoint, query_s
        self._blocking = Blocking(endpoint)
        try:
            self._contract = self._blocking.wait(self._probe(query_prefix, document_prefix))
        except BaseException:
            self.close()
            raise

    @property
    def contract(self) -> EmbeddingContract:
        """The contract of every vector this encoder returns."""
        return self._contract

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of shape (len(texts), dimension), float32, unit norm, in the order given; too long texts are cut.

        Raises:
            EndpointFailed, DeadlineExceeded: the endpoint does not answer, or not with finite vectors.
            ContractMismatch: it answers with another dimension than it was probed with.
        """
        prefix = self._contract.document_prefix
        return self._blocking.wait(self._encode([prefix + _clean(text) for text in texts], _BATCH_S))

    def encode_query(self, text: str) -> Matrix:
        """Vector of shape (dimension,), float32, unit norm; raises as `encode_documents` does."""
        texts = [self._contract.query_prefix + _clean(text)]
        vector: Matrix = self._blocking.wait(self._encode(texts, self._query_s))[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, estimated."""
        return [_tokens(text) for text in texts]

    def close(self) -> None:
        """Close the connections and stop the thread."""
        self._blocking.close()

    async def _probe(self, query_prefix: str | None, document_prefix: str | None) -> EmbeddingContract:
        deadline = Deadline.after(_PROBE_S)
        model = self._endpoint.model
        try:
            listed = await self._endpoint.json("GET", "/v1/models", None, deadline)
        except EndpointFailed as error:
            if error.status not in (404, 405):
                raise
            listed = None
        row = _row_of(listed, model)
        root = str(row.get("root") or "")
        usual = prefixes_of(f"{model} {root}")
        found = await self._ask(["probe"], deadline)
        return EmbeddingContract(
            model=model,
            revision=root,
            dimension=found.shape[1],
            precision="remote",
            pooling="server",
            normalized=True,
            query_prefix=usual[0] if query_prefix is None else query_prefix,
            document_prefix=usual[1] if document_prefix is None else document_prefix,
            max_tokens=int(row.get("max_model_len") or 0),
            text_version=TEXT_VERSION,
        )

    async def _encode(self, texts: Sequence[str], seconds: float) -> Matrix:
        vectors = np.empty((len(texts), self._contract.dimension), np.float32)
        tasks = [asyncio.create_task(self._fill(vectors, batch, texts, seconds)) for batch in _batches(texts)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()  # of the others, when one failed
        return vectors

    async def _fill(self, vectors: Matrix, batch: Sequence[int], texts: Sequence[str], seconds: float) -> None:
        found = await self._bisected([texts[at] for at in batch], seconds, _HALVINGS)
        if found.shape[1] != vectors.shape[1]:
            raise ContractMismatch(
                f"{self._endpoint.where} answered with dimension {found.shape[1]}, it was probed with "
                f"{vectors.shape[1]}; restart, then rebuild the index"
            )
        vectors[list(batch)] = found

    async def _bisected(self, texts: Sequence[str], seconds: float, halvings: int) -> Matrix:
        """Vectors of a batch; one too long text fails a whole batch, so it is looked for and cut."""
        try:
            return await self._ask(texts, Deadline.after(seconds))
        except EndpointFailed as error:
            if not _is_about_length(error) or (len(texts) == 1 and not halvings):
                raise
        if len(texts) == 1:
            return await self._bisected([texts[0][: len(texts[0]) // 2]], seconds, halvings - 1)
        middle = len(texts) // 2
        halves = [await self._bisected(half, seconds, halvings) for half in (texts[:middle], texts[middle:])]
        return np.concatenate(halves)

    async def _ask(self, texts: Sequence[str], deadline: Deadline) -> Matrix:
        body = {
            "model": self._endpoint.model,
            "input": list(texts),
            "encoding_format": "base64",
            "truncate_prompt_tokens": -1,
        }
        found = await self._endpoint.json("POST", "/v1/embeddings", body, deadline)
        try:
            return vectors_of(found, len(texts))
        except ValueError as error:
            raise self._endpoint.failed(str(error)) from None


def vectors_of(found: Any, count: int) -> Matrix:
    """Unit vectors (count, dimension) in the order of the texts; raises ValueError saying what is wrong."""
    matrix = raw_vectors(found, count)
    norms = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(matrix).all() or not np.isfinite(norms).all() or not (norms > 0).all():
        raise ValueError("answered vectors that are not finite or zero")
    unit: Matrix = (matrix / norms).astype(np.float32)
    return unit


def raw_vectors(found: Any, count: int) -> Matrix:
    """Vectors (count, width) of a `/v1/embeddings` answer, in the order of the texts; values are not looked at.

    Raises:
        ValueError: what is wrong with its form, in words.
    """
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or len(rows) != count:
        raise ValueError(f"answered {len(rows) if isinstance(rows, list) else 'no'} vectors for {count} texts")
    by_index = {row.get("index"): row.get("embedding") for row in rows if isinstance(row, dict)}
    if by_index.keys() != set(range(count)):
        raise ValueError("answered vectors whose indexes are not those of the texts")
    vectors = [_vector(by_index[index]) for index in range(count)]
    if len({len(vector) for vector in vectors}) != 1 or not len(vectors[0]):
        raise ValueError("answered vectors of different dimensions")
    return np.stack(vectors)


def _vector(embedding: Any) -> Matrix:
    try:
        if isinstance(embedding, str):
            return np.frombuffer(base64.b64decode(embedding, validate=True), "<f4").astype(np.float32)
        return np.array(embedding, np.float32).reshape(-1)
    except (binascii.Error, ValueError, TypeError):
        raise ValueError("answered something that is not a vector of numbers") from None


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Positions of texts, shortest first, each batch within both limits or of one text."""
    batch: list[int] = []
    tokens = 0
    for position in sorted(range(len(texts)), key=lambda at: len(texts[at])):
        cost = _tokens(texts[position])
        if batch and (len(batch) == _BATCH_TEXTS or tokens + cost > _BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(position)
        tokens += cost
    if batch:
        yield batch


def _is_about_length(error: EndpointFailed) -> bool:
    return error.status == 400 and (error.param == "input_tokens" or "maximum context length" in str(error))


def _row_of(listed: Any, model: str) -> dict[str, Any]:
    rows = listed.get("data") if isinstance(listed, dict) else None
    known = [row for row in rows or () if isinstance(row, dict)]
    return next((row for row in known if row.get("id") == model), {})


def _clean(text: str) -> str:
    return (text if text.isascii() else text.encode("utf-8", "replace").decode()) or " "


def _tokens(text: str) -> int:
    return 2 + len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN
