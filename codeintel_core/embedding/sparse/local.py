"""A SPLADE model from a local folder, on ONNX Runtime.

The folder has `tokenizer.json` and either `model.onnx` (a masked language model whose first output is logits
[batch, sequence, vocabulary], or weights that are pooled already, [batch, vocabulary]) or a BERT's `config.json` and
`model.safetensors`, which are exported once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codeintel_core.embedding import inference, model_files, onnx_bert
from codeintel_core.embedding.onnx_bert import EXPORT_VERSION
from codeintel_core.embedding.sparse.contract import IMPACTS_PER_UNIT, Impacts, SparseContract, impacts_of
from codeintel_core.embedding.text import TEXT_VERSION
from codeintel_core.errors import ModelUnavailable

_MAX_TOKENS = 512
_BATCH_TOKENS = 1024  # logits take 120 kB per token at a vocabulary of 30,000
_ONNX, _WEIGHTS, _CONFIG, _TOKENIZER = "model.onnx", "model.safetensors", "config.json", "tokenizer.json"


def folder_contract(folder: Path, *, document_terms: int, query_terms: int) -> SparseContract:
    """The contract of the model in `folder`, without loading it; raises `ModelUnavailable` naming what is missing."""
    files = _files(folder)
    tokenizer = inference.load_tokenizer(folder / _TOKENIZER)
    config = _config(folder)
    stamps = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return SparseContract(
        model=folder.name,
        revision=_digest(stamps),
        vocabulary=int(config.get("vocab_size") or tokenizer.get_vocab_size()),
        max_tokens=min(_MAX_TOKENS, int(config.get("max_position_embeddings") or _MAX_TOKENS)),
        document_terms=document_terms,
        query_terms=query_terms,
        impacts_per_unit=IMPACTS_PER_UNIT,
        text_version=TEXT_VERSION,
    )


class LocalSparseEncoder:
    """`SparseEncoder` on a model folder; safe to call from several threads at once."""

    def __init__(self, folder: Path, models_dir: Path, contract: SparseContract, threads: int = 1) -> None:
        """Load the model, exporting it into `models_dir` (`Home.models`) on first use.

        Raises:
            ModelUnavailable: the folder holds no model, or one that does not load.
            StorageFailed: `models_dir` cannot be written.
        """
        self._contract = contract
        self._tokenizer = inference.load_tokenizer(folder / _TOKENIZER)
        self._session = inference.load_session(_graph(folder, models_dir, contract), threads)
        self._inputs = {one.name for one in self._session.get_inputs()}

    @property
    def contract(self) -> SparseContract:
        """The contract of every vector this encoder returns."""
        return self._contract

    def encode_documents(self, texts: Sequence[str]) -> list[Impacts]:
        """Impacts of each text, in the order given; longer texts are truncated.

        Raises:
            ModelUnavailable: the model answers with something that is no sparse vector of its vocabulary.
        """
        return self._encode(texts, self._contract.document_terms)

    def encode_query(self, text: str) -> Impacts:
        """Impacts of a query; raises as `encode_documents` does."""
        return self._encode([text], self._contract.query_terms)[0]

    def _encode(self, texts: Sequence[str], most: int) -> list[Impacts]:
        ids = inference.token_ids(self._tokenizer, texts)
        tokens = [inference.truncated(one, self._contract.max_tokens) for one in ids]
        found: list[Impacts] = [np.empty((0, 2), np.int32)] * len(texts)
        for batch in inference.length_batches(tokens, _BATCH_TOKENS):
            weights = self._weights([tokens[i] for i in batch])
            try:
                for position, row in zip(batch, weights, strict=True):
                    found[position] = self._impacts(row, most)
            except ValueError as error:
                raise ModelUnavailable(f"the sparse model {self._contract.model} {error}") from None
        return found

    def _impacts(self, row: NDArray[Any], most: int) -> Impacts:
        if row.shape != (self._contract.vocabulary,):
            raise ValueError(f"answered {row.shape[-1]} weights for a vocabulary of {self._contract.vocabulary}")
        active = np.flatnonzero(row)  # NaN is not zero
        return impacts_of(active, row[active], vocabulary=self._contract.vocabulary, most=most)

    def _weights(self, tokens: list[list[int]]) -> NDArray[Any]:
        ids, mask = inference.padded(tokens)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        try:
            out = self._session.run(None, {name: feed[name] for name in self._inputs})[0]
        except Exception as error:  # ONNX Runtime's errors share no other base; an input we do not know is a KeyError
            raise ModelUnavailable(f"the sparse model {self._contract.model} does not run: {error}") from error
        if out.ndim == 3:
            largest = np.where(mask[:, :, None].astype(bool), out, 0).max(axis=1)
            out = np.log1p(np.maximum(largest, 0))
        return np.asarray(out)


def _files(folder: Path) -> list[Path]:
    """The files that decide a vector."""
    graph = [_ONNX] if (folder / _ONNX).is_file() else [_WEIGHTS, _CONFIG]
    for name in [*graph, _TOKENIZER]:
        if not (folder / name).is_file():
            raise ModelUnavailable(
                f"the sparse model folder {folder} lacks {name}; it needs {_TOKENIZER} and {_ONNX}, or {_TOKENIZER}, "
                f"{_CONFIG} and {_WEIGHTS} of a BERT with its masked language model head"
            )
    return [folder / name for name in [*graph, _TOKENIZER]]


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / _CONFIG).read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ModelUnavailable(f"the sparse model folder {folder}: {_CONFIG} is not JSON: {error}") from None
    return found


@lru_cache(maxsize=8)
def _digest(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    """Digest of the files (12 hex digits), once as long as neither time nor size changes."""
    digest = hashlib.sha256()
    for path, _, _ in stamps:
        digest.update(model_files.sha256(path).encode())
    exported = "" if any(path.name == _ONNX for path, _, _ in stamps) else f".{EXPORT_VERSION}"
    return f"{digest.hexdigest()[:12]}{exported}"


def _graph(folder: Path, models_dir: Path, contract: SparseContract) -> Path:
    if (folder / _ONNX).is_file():
        return folder / _ONNX
    target = models_dir / f"splade-{contract.revision}.onnx"
    try:
        return model_files.exported_once(target, lambda: onnx_bert.export_splade(folder, target))
    except KeyError as error:
        raise ModelUnavailable(
            f"the sparse model folder {folder} holds no BERT with its masked language model head (no {error}); "
            f"export it to {_ONNX}"
        ) from error
