"""MiniLM in this process, on ONNX Runtime: deterministic, offline, without torch.

A text's vector does not depend on its batch (see `onnx_bert`), up to the last bits of a float sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from codeintel_core.embedding import inference, model_files
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.embedding.onnx_bert import Precision
from codeintel_core.embedding.text import TEXT_VERSION

DIMENSION = 384
MAX_TOKENS = 256


def local_contract(precision: Precision) -> EmbeddingContract:
    """The contract of the embedded model, without loading it.

    Raises:
        ModelUnavailable: the model's package is not installed.
    """
    return EmbeddingContract(
        model=model_files.MODEL,
        revision=model_files.revision(),
        dimension=DIMENSION,
        precision=precision,
        pooling="mean",
        normalized=True,
        query_prefix="",
        document_prefix="",
        max_tokens=MAX_TOKENS,
        text_version=TEXT_VERSION,
    )


class LocalEncoder:
    """`Encoder` on the embedded model; safe to call from several threads at once."""

    def __init__(self, models_dir: Path, precision: Precision, threads: int = 1, batch_tokens: int = 512) -> None:
        """Load the model, exporting it into `models_dir` on first use.

        Args:
            models_dir: folder of exported models (`Home.models`).
            precision: int8 or fp32.
            threads: batches that one call encodes at once; 1 for queries, the cores for a build.
            batch_tokens: tokens of one batch, padding included; what fits into a core's cache is fastest.

        Raises:
            ModelUnavailable: the model is not installed or does not load.
            StorageFailed: `models_dir` cannot be written.
        """
        self._contract = local_contract(precision)
        self._threads, self._batch_tokens = threads, batch_tokens
        self._tokenizer = inference.load_tokenizer(model_files.package_dir() / "tokenizer.json")
        self._session = inference.load_session(model_files.exported(models_dir, precision), threads=1)

    @property
    def contract(self) -> EmbeddingContract:
        """The contract of every vector this encoder returns."""
        return self._contract

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of shape (len(texts), 384), float32, unit norm, in the order given; longer texts are truncated."""
        tokens = [inference.truncated(ids, MAX_TOKENS) for ids in inference.token_ids(self._tokenizer, texts)]
        vectors = np.empty((len(texts), DIMENSION), np.float32)

        def encode(batch: list[int]) -> None:
            vectors[batch] = self._run([tokens[i] for i in batch])

        batches = list(inference.length_batches(tokens, self._batch_tokens))
        if self._threads == 1 or len(batches) < 2:
            for batch in batches:
                encode(batch)
        else:  # threads inside of a run wait for each other at every operator
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(encode, reversed(batches)))  # the largest first, so that all end at about the same time
        return vectors

    def encode_query(self, text: str) -> Matrix:
        """Vector of shape (384,), float32, unit norm."""
        vector: Matrix = self.encode_documents([text])[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation."""
        return [len(ids) for ids in inference.token_ids(self._tokenizer, texts)]

    def _run(self, tokens: list[list[int]]) -> Matrix:
        ids, mask = inference.padded(tokens)
        vectors: Matrix = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return vectors
