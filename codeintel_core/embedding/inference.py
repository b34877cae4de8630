"""Running an exported model on ONNX Runtime: tokenizer, session, and batches of texts of similar length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from codeintel_core.errors import ModelUnavailable

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = NDArray[np.int64]


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`, without truncation or padding; raises `ModelUnavailable`."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise ModelUnavailable(f"the tokenizer {path} does not load: {error}") from error
    tokenizer.no_truncation()  # counted before truncation, and settings cannot change between threads
    tokenizer.no_padding()
    return tokenizer


def load_session(path: Path, threads: int) -> Any:
    """An ONNX Runtime session on the CPU; raises `ModelUnavailable`."""
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


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, special tokens included."""
    # A lone surrogate has no UTF-8 form and would be refused: it becomes '?'.
    clean = [text if text.isascii() else text.encode("utf-8", "replace").decode() for text in texts]
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(clean)]


def truncated(ids: list[int], most: int) -> list[int]:
    """At most `most` ids; the last one, which ends the text, stays."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def length_batches(tokens: Sequence[Sequence[int]], batch_tokens: int) -> Iterator[list[int]]:
    """Positions of texts of similar length, each batch within `batch_tokens` (padding included) or of one text."""
    batch: list[int] = []
    for position in sorted(range(len(tokens)), key=lambda i: len(tokens[i])):
        if batch and len(tokens[position]) * (len(batch) + 1) > batch_tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def padded(tokens: Sequence[Sequence[int]]) -> tuple[Ids, Ids]:
    """Ids and attention mask, int64 (texts, longest), padded with 0."""
    ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
    mask = np.zeros_like(ids)
    for row, one in enumerate(tokens):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1
    return ids, mask
