"""BERT encoders, dense and SPLADE, as ONNX graphs, written straight from the safetensors weights.

No torch, neither to export nor to run.

Attention, layer norm and GELU are ONNX Runtime's own fused operators (domain `com.microsoft`). Padding is masked in
the attention and in the pooling; the mean needs no division, because the unit vector of the sum is that of the mean.

`int8` quantises weights per output column and activations per token, at run time. Per-tensor dynamic quantisation
(what `onnxruntime.quantization` writes) is 5 to 10 % faster, but its scale depends on the other texts of the batch:
a text alone and the same text in a batch differ by cosine 0.994, so a cached vector would depend on its neighbours.
Per token they are equal, and closer to fp32 (0.998 against 0.991 on code).
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

Precision = Literal["fp32", "int8"]
EXPORT_VERSION = 2
"""Raised by every change of this module that changes a vector."""

_CONTRIB = "com.microsoft"
_NORM = ("weight", "bias")
_ZERO = 128  # zero point of activations of either sign
_GELU_MIN, _GELU_ZERO = 0.17, 32  # GELU never falls below -0.17: most of the 8 bits go to the positive side


def export(model_dir: Path, target: Path, precision: Precision) -> None:
    """Write the encoder of `model_dir` (config.json, model.safetensors) to `target`, atomically; same bytes every time.

    Inputs `input_ids` and `attention_mask`, int64 [batch, sequence]; output `embedding`, float32 [batch, hidden]: the
    mean of the unmasked tokens' vectors, unit norm.

    Raises:
        OSError: a file cannot be read or written.
        KeyError: the weights are not those of a BERT encoder.
    """
    _save(_dense(*_loaded(model_dir), precision), target)


def export_splade(model_dir: Path, target: Path) -> None:
    """The same for a masked language model, in fp32; output `weights`, float32 [batch, vocabulary].

    The weights are SPLADE's: log(1 + relu(logit)) of every term, the largest over the unmasked tokens (Formal et al.,
    2021, https://arxiv.org/abs/2109.10086).

    Raises:
        OSError: a file cannot be read or written.
        KeyError: the weights are not those of BERT with its masked language model head.
    """
    _save(_splade(*_loaded(model_dir)), target)


def _loaded(model_dir: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    from safetensors.numpy import load_file

    weights = load_file(model_dir / "model.safetensors")
    plain = {
        name.removeprefix("bert."): value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in weights.items()
    }
    return json.loads((model_dir / "config.json").read_text()), plain


def _save(model: ModelProto, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(model.SerializeToString(deterministic=True))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _dense(config: dict[str, Any], weights: dict[str, NDArray[Any]], precision: Precision) -> ModelProto:
    graph = _Graph(precision)
    x = _hidden(graph, config, weights)
    rows = graph.constant("axis_1", np.array([1], np.int64))
    selector = graph.add("Unsqueeze", [graph.add("Cast", ["attention_mask"], to=graph.kinds.FLOAT), rows])
    total = graph.add("Squeeze", [graph.add("MatMul", [selector, x]), rows])
    return graph.model(graph.add("LpNormalization", [total], axis=-1, p=2), "embedding", config["hidden_size"])


def _splade(config: dict[str, Any], weights: dict[str, NDArray[Any]]) -> ModelProto:
    graph = _Graph("fp32")
    x = _hidden(graph, config, weights)
    head = "cls.predictions."
    transform = f"{head}transform.dense"
    (x,) = graph.linear(x, {transform: weights[f"{transform}.weight"].T})
    x = graph.add("BiasGelu", [x, graph.constant(f"{transform}.bias", weights[f"{transform}.bias"])], contrib=True)
    norm = [graph.constant(f"{head}norm.{part}", weights[f"{head}transform.LayerNorm.{part}"]) for part in _NORM]
    x = graph.add("LayerNormalization", [x, *norm], axis=-1, epsilon=config["layer_norm_eps"])
    # The decoder is usually tied to the word embeddings, and then not stored twice.
    decoder = weights.get(f"{head}decoder.weight", weights["embeddings.word_embeddings.weight"])
    bias = weights[f"{head}bias"] if f"{head}bias" in weights else weights[f"{head}decoder.bias"]
    (logits,) = graph.linear(x, {f"{head}decoder": decoder.T})
    positive = graph.add("Relu", [graph.add("Add", [logits, graph.constant(f"{head}bias", bias)])])
    last = graph.constant("axis_last", np.array([-1], np.int64))
    mask = graph.add("Unsqueeze", [graph.add("Cast", ["attention_mask"], to=graph.kinds.FLOAT), last])
    rows = graph.constant("axis_1", np.array([1], np.int64))
    # The logarithm grows with its argument: of the largest only is the same, and far cheaper.
    largest = graph.add("ReduceMax", [graph.add("Mul", [positive, mask]), rows], keepdims=0)
    one = graph.constant("one", np.array(1, np.float32))
    return graph.model(graph.add("Log", [graph.add("Add", [largest, one])]), "weights", len(bias))


def _hidden(graph: _Graph, config: dict[str, Any], weights: dict[str, NDArray[Any]]) -> str:
    """The last hidden states, [batch, sequence, hidden]."""
    eps, heads = config["layer_norm_eps"], config["num_attention_heads"]

    def weight(name: str) -> str:
        return graph.constant(name, weights[name])

    def norm(x: str, residual: str, dense: str, layer_norm: str) -> str:
        inputs = [x, residual, weight(f"{layer_norm}.weight"), weight(f"{layer_norm}.bias"), weight(f"{dense}.bias")]
        return graph.add("SkipLayerNormalization", inputs, contrib=True, epsilon=eps)

    # Every token is of type 0, so its type embedding is a part of the position's.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    mask = graph.add("Cast", ["attention_mask"], to=graph.kinds.INT32)
    embedding = [
        graph.add("Cast", ["input_ids"], to=graph.kinds.INT32),
        "",
        weight("embeddings.word_embeddings.weight"),
        graph.constant("positions", positions),
        "",
        weight("embeddings.LayerNorm.weight"),
        weight("embeddings.LayerNorm.bias"),
    ]
    x = graph.add("EmbedLayerNormalization", embedding, outputs=2, contrib=True, epsilon=eps)
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."
        qkv = [f"{p}attention.self.{part}" for part in ("query", "key", "value")]
        projected = graph.linear(x, {name: weights[f"{name}.weight"].T for name in qkv})
        bias = graph.constant(f"{p}qkv.bias", np.concatenate([weights[f"{name}.bias"] for name in qkv]))
        attended = graph.add("MultiHeadAttention", [*projected, bias, mask], contrib=True, num_heads=heads)
        dense = f"{p}attention.output.dense"
        (y,) = graph.linear(attended, {dense: weights[f"{dense}.weight"].T})
        x = norm(y, x, dense, f"{p}attention.output.LayerNorm")

        dense = f"{p}intermediate.dense"
        (y,) = graph.linear(x, {dense: weights[f"{dense}.weight"].T})
        y = graph.add("BiasGelu", [y, weight(f"{dense}.bias")], contrib=True)
        dense = f"{p}output.dense"
        (y,) = graph.linear(y, {dense: weights[f"{dense}.weight"].T}, after_gelu=True)
        x = norm(y, x, dense, f"{p}output.LayerNorm")
    return x


class _Graph:
    """Nodes and constants of the graph being written; a tensor is known by its name."""

    def __init__(self, precision: Precision) -> None:
        import onnx

        self.onnx = onnx
        self.kinds = onnx.TensorProto
        self.precision = precision
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Store `value` under `name` (once) and return the name."""
        if name not in self.constants:
            self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def add(self, op: str, inputs: list[str], *, outputs: int = 1, contrib: bool = False, **attributes: Any) -> str:
        """Append a node and return the name of its first output."""
        name = f"{op}_{len(self.nodes)}"
        names = [name, *(f"{name}.{i}" for i in range(1, outputs))]
        domain = _CONTRIB if contrib else ""
        self.nodes.append(self.onnx.helper.make_node(op, inputs, names, name=name, domain=domain, **attributes))
        return name

    def linear(self, x: str, matrices: dict[str, NDArray[np.float32]], *, after_gelu: bool = False) -> list[str]:
        """`x @ matrix` for each [inputs, outputs] matrix."""
        if self.precision == "fp32":
            return [self.add("MatMul", [x, self.constant(name, m)]) for name, m in matrices.items()]
        width = next(iter(matrices.values())).shape[0]
        quantised, scale, zero_point = self._quantised_tokens(x, width, _GELU_ZERO if after_gelu else _ZERO)
        one = self.constant("one", np.array(1, np.float32))
        results = []
        for name, matrix in matrices.items():
            step = _pair_sums(matrix).max(axis=0) / 127
            weight = self.constant(name, np.rint(matrix / step).astype(np.int8))
            steps = self.constant(f"{name}.step", step)
            y = self.add("MatMulIntegerToFloat", [quantised, weight, one, steps, zero_point], contrib=True)
            results.append(self.add("Mul", [y, scale]))
        return results

    def _quantised_tokens(self, x: str, width: int, zero: int) -> tuple[str, str, str]:
        """`x` as uint8 around `zero`, one scale per token: (quantised, scale [batch, sequence, 1], zero point)."""
        last = self.constant("last", np.array([-1], np.int64))
        scale = self._scaled(self.add("ReduceMax", [x, last], keepdims=1), 1 / (255 - zero))
        if zero == _GELU_ZERO:
            low = self.constant("gelu_scale", np.array(_GELU_MIN / zero, np.float32))
        else:
            low = self._scaled(self.add("ReduceMin", [x, last], keepdims=1), -1 / (zero - 1))
        scale = self.add("Max", [scale, low])
        tokens = self.add("Reshape", [scale, last])
        flat = self.add("Reshape", [x, self.constant(f"rows_{width}", np.array([-1, width], np.int64))])
        fill = self.onnx.helper.make_tensor("zero", self.kinds.UINT8, [1], [zero])
        zeros = self.add("ConstantOfShape", [self.add("Shape", [tokens])], value=fill)
        quantised = self.add("QuantizeLinear", [flat, tokens, zeros], axis=0)
        shaped = self.add("Reshape", [quantised, self.add("Shape", [x])])
        return shaped, scale, self.constant(f"zero_{zero}", np.array(zero, np.uint8))

    def _scaled(self, x: str, factor: float) -> str:
        return self.add("Mul", [x, self.constant(f"factor_{factor:.6f}", np.array(factor, np.float32))])

    def model(self, output: str, name: str, width: int) -> ModelProto:
        """The finished model, whose result is the tensor `output`, [batch, width], under a name of its own."""
        helper, kinds = self.onnx.helper, self.kinds
        self.nodes.append(helper.make_node("Identity", [output], [name]))
        inputs = ("input_ids", "attention_mask")
        graph = helper.make_graph(
            self.nodes,
            "bert",
            [helper.make_tensor_value_info(one, kinds.INT64, ["batch", "sequence"]) for one in inputs],
            [helper.make_tensor_value_info(name, kinds.FLOAT, ["batch", width])],
            list(self.constants.values()),
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
        model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return model


def _pair_sums(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest sum of one sign in each pair of neighbouring inputs, shape [inputs / 2, outputs].

    CPUs without VNNI add the products of such a pair in 16 bits. Scaled so that no sum passes 127 (128 when rounded),
    products with uint8 activations stay below 255 * 128 < 2**15: no CPU saturates, and all of them compute the same.
    """
    pairs = matrix.reshape(-1, 2, matrix.shape[1])
    sums: NDArray[np.float32] = np.maximum(pairs.clip(min=0).sum(axis=1), -pairs.clip(max=0).sum(axis=1))
    return sums
