"""MiniLM in this process, on ONNX Runtime: deterministic, offline, without torch.

A text's vector does not depend on its batch (see `onnx_bert`), up to the last bits of a float sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codeintel_core.embedding import model_files
from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.embedding.onnx_bert import Precision
from codeintel_core.embedding.text import TEXT_VERSION
from codeintel_core.errors import ModelUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

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

    def __init__(self, models_dir: Path, precision: Precision, threads: int = 1, batch_tokens: int = 4096) -> None:
        """Load the model, exporting it into `models_dir` on first use.

        Args:
            models_dir: folder of exported models (`Home.models`).
            precision: int8 or fp32.
            threads: threads of one call; 1 or 2 for queries, the cores for a build.
            batch_tokens: tokens of one batch, padding included; bounds memory (about 50 kB per token).

        Raises:
            ModelUnavailable: the model is not installed or does not load.
            StorageFailed: `models_dir` cannot be written.
        """
        self._contract = local_contract(precision)
        self._batch_tokens = batch_tokens
        self._tokenizer = _tokenizer(model_files.package_dir() / "tokenizer.json")
        self._session = _session(model_files.exported(models_dir, precision), threads)

    @property
    def contract(self) -> EmbeddingContract:
        """The contract of every vector this encoder returns."""
        return self._contract

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of shape (len(texts), 384), float32, unit norm, in the order given; longer texts are truncated."""
        tokens = [_truncated(ids) for ids in self._token_ids(texts)]
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for batch in _batches(tokens, self._batch_tokens):
            vectors[batch] = self._run([tokens[i] for i in batch])
        return vectors

    def encode_query(self, text: str) -> Matrix:
        """Vector of shape (384,), float32, unit norm."""
        vector: Matrix = self.encode_documents([text])[0]
        return vector

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens included, before truncation."""
        return [len(ids) for ids in self._token_ids(texts)]

    def _token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        # A lone surrogate has no UTF-8 form and would be refused: it becomes '?'.
        clean = [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(clean)]

    def _run(self, tokens: list[list[int]]) -> Matrix:
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = one
            mask[row, : len(one)] = 1
        vectors: Matrix = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return vectors


def _batches(tokens: list[list[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Positions of texts of similar length, each batch within `batch_tokens` (padding included) or of one text."""
    batch: list[int] = []
    for position in sorted(range(len(tokens)), key=lambda i: len(tokens[i])):
        if batch and len(tokens[position]) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def _truncated(ids: list[int]) -> list[int]:
    return ids if len(ids) <= MAX_TOKENS else [*ids[: MAX_TOKENS - 1], ids[-1]]


def _tokenizer(path: Path) -> Tokenizer:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise ModelUnavailable(f"the tokenizer {path} does not load: {error}") from error
    tokenizer.no_truncation()  # counted before truncation, and settings cannot change between threads
    tokenizer.no_padding()
    return tokenizer


def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ModelUnavailable(f"the model {path} does not load: {error}") from error
