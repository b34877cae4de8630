"""The exported graph beside BERT written out in NumPy, with random weights: two layers, two heads, padded texts."""

from __future__ import annotations

import json
from math import erf
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from codeintel_core.embedding import inference, onnx_bert
from codeintel_core.embedding.onnx_bert import Precision

HIDDEN, HEADS, INNER, LAYERS, WORDS, POSITIONS, EPS = 16, 2, 64, 2, 40, 24, 1e-12
Weights = dict[str, NDArray[np.float32]]
TEXTS = [[1, 5, 9, 2], [1, *range(3, 20), 2], [1, 2], [1, 30, 31, 30, 2]]


@pytest.fixture(scope="module")
def weights() -> Weights:
    chance = np.random.default_rng(8)
    made: Weights = {}

    def matrix(name: str, outputs: int, inputs: int) -> None:
        made[f"{name}.weight"] = chance.normal(0, 0.4, (outputs, inputs)).astype(np.float32)

    def linear(name: str, outputs: int, inputs: int) -> None:
        matrix(name, outputs, inputs)
        made[f"{name}.bias"] = chance.normal(0, 0.3, outputs).astype(np.float32)

    def norm(name: str) -> None:
        made[f"{name}.weight"] = chance.normal(1, 0.2, HIDDEN).astype(np.float32)
        made[f"{name}.bias"] = chance.normal(0, 0.2, HIDDEN).astype(np.float32)

    for kind, count in (("word", WORDS), ("position", POSITIONS), ("token_type", 2)):
        matrix(f"embeddings.{kind}_embeddings", count, HIDDEN)
    norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        p = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            linear(f"{p}attention.self.{part}", HIDDEN, HIDDEN)
        linear(f"{p}attention.output.dense", HIDDEN, HIDDEN)
        norm(f"{p}attention.output.LayerNorm")
        linear(f"{p}intermediate.dense", INNER, HIDDEN)
        linear(f"{p}output.dense", HIDDEN, INNER)
        norm(f"{p}output.LayerNorm")
    return made


def reference(weights: Weights, ids: list[int]) -> NDArray[np.float64]:
    """The unit vector of the mean of the last hidden states."""

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        found: NDArray[np.float64] = x @ weights[f"{name}.weight"].T.astype(np.float64) + weights[f"{name}.bias"]
        return found

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        even = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + EPS)
        found: NDArray[np.float64] = even * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return found

    named = {kind: weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position", "token_type")}
    x = norm((named["word"][ids] + named["position"][: len(ids)] + named["token_type"][0]).astype(np.float64),
             "embeddings.LayerNorm")  # fmt: skip
    for layer in range(LAYERS):
        p, each = f"encoder.layer.{layer}.", HIDDEN // HEADS
        q, k, v = (
            linear(x, f"{p}attention.self.{part}").reshape(len(ids), HEADS, each).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = np.exp(q @ k.transpose(0, 2, 1) / np.sqrt(each))
        attended = (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = norm(linear(attended, f"{p}attention.output.dense") + x, f"{p}attention.output.LayerNorm")
        inner = linear(x, f"{p}intermediate.dense")
        inner = np.vectorize(lambda value: 0.5 * value * (1 + erf(value / np.sqrt(2))))(inner)
        x = norm(linear(inner, f"{p}output.dense") + x, f"{p}output.LayerNorm")
    mean: NDArray[np.float64] = x.mean(axis=0)
    return mean / np.linalg.norm(mean)


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.999999), ("int8", 0.99)])
def test_padded_texts_of_a_batch_equal_the_reference(
    precision: Precision, least: float, weights: Weights, tmp_path: Path
) -> None:
    config = {"hidden_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "layer_norm_eps": EPS}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(weights, tmp_path / "model.safetensors")
    onnx_bert.export(tmp_path, tmp_path / "model.onnx", precision)
    session = inference.load_session(tmp_path / "model.onnx", threads=1)
    ids, mask = inference.padded(TEXTS)
    found = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    wanted = np.stack([reference(weights, text) for text in TEXTS])
    assert (found * wanted).sum(axis=1).min() >= least
