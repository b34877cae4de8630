"""A SPLADE model of a few dozen words, constructed, not trained: each word means itself and its synonyms.

A BERT without layers whose hidden states are one-hot: the head's dense matrix spreads a word to its synonyms, so that
what the model must say of a text can be computed by hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (
    "tokenize expression parser parse term write snapshot calculator install guide publish generation swap pointer "
    "journal append record cart total price recover atomically fresh one torn line ledger queue drain rotate path "
    "split persist add"
).split()
SYNONYMS = {"split": "tokenize", "persist": "write", "add": "total"}
_EPS = 1e-12
_MAX_TOKENS = 64


def vocabulary() -> dict[str, int]:
    """Token -> id; every word also continues an identifier (`##word`)."""
    return {token: at for at, token in enumerate([*SPECIAL, *WORDS, *(f"##{word}" for word in WORDS)])}


def write_model(folder: Path, synonyms: Mapping[str, str] = SYNONYMS, *, dtype: type = np.float32) -> Path:
    """Write tokenizer.json, config.json and model.safetensors of a `BertForMaskedLM`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    vocab = vocabulary()
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Split(Regex("[^a-z0-9]+"), "removed")
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "hidden_size": len(vocab), "vocab_size": len(vocab), "num_hidden_layers": 0, "num_attention_heads": 1,
        "layer_norm_eps": _EPS, "max_position_embeddings": _MAX_TOKENS,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    save_file({name: value.astype(dtype) for name, value in weights(synonyms).items()}, folder / "model.safetensors")
    return folder


def weights(synonyms: Mapping[str, str] = SYNONYMS) -> dict[str, NDArray[np.float32]]:
    """The tensors under the names that `transformers` gives them."""
    vocab = vocabulary()
    size = len(vocab)
    spread = np.eye(size, dtype=np.float32)
    for word in WORDS:
        spread[vocab[word], vocab[f"##{word}"]] = 1  # a part of an identifier means the word
    for word, means in synonyms.items():
        spread[vocab[means], vocab[word]] = 0.6
    spread[: len(SPECIAL)] = 0
    head = "cls.predictions."
    one, zero = np.ones(size, np.float32), np.zeros(size, np.float32)
    return {
        "bert.embeddings.word_embeddings.weight": np.eye(size, dtype=np.float32),
        "bert.embeddings.position_embeddings.weight": np.zeros((_MAX_TOKENS, size), np.float32),
        "bert.embeddings.token_type_embeddings.weight": np.zeros((2, size), np.float32),
        "bert.embeddings.LayerNorm.weight": one,
        "bert.embeddings.LayerNorm.bias": zero,
        f"{head}transform.dense.weight": spread,
        f"{head}transform.dense.bias": zero,
        f"{head}transform.LayerNorm.weight": one,
        f"{head}transform.LayerNorm.bias": zero,
        f"{head}bias": np.where(np.arange(size) < len(SPECIAL), -100, -1.5).astype(np.float32),
    }


def expected(tokens: list[int], synonyms: Mapping[str, str] = SYNONYMS) -> NDArray[np.float64]:
    """SPLADE weights (vocabulary,) of token ids, computed in plain numpy."""
    from math import erf

    named = {name.removeprefix("cls.predictions."): value for name, value in weights(synonyms).items()}
    embedded = named["bert.embeddings.word_embeddings.weight"][tokens].astype(np.float64)
    hidden = _normalised(embedded) @ named["transform.dense.weight"].T.astype(np.float64)
    gelu = np.vectorize(lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))))(hidden)
    logits = _normalised(gelu) @ np.eye(hidden.shape[1]) + named["bias"]
    found: NDArray[np.float64] = np.log1p(np.maximum(logits, 0)).max(axis=0)
    return found


def _normalised(x: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + _EPS)
    return found
