"""BERT encoders, dense and SPLADE, as ONNX graphs, written straight from the safetensors weights.

No torch, neither to export nor to run.

Attention and GELU are ONNX Runtime's own fused operators (domain `com.microsoft`). Its layer norms compute one number
after the other and took a fifth of an encoding. Between layers InstanceNormalization over [1, tokens, hidden], a token
being a channel, is the same function with vector instructions, in a fifth of their time (docs/decisions, 26).

Padding is masked in the attention and in the pooling; the mean needs no division, because the unit vector of the sum is
that of the mean.

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
EXPORT_VERSION = 3
"""Raised by every change of this module that changes a vector."""

_CONTRIB = "com.microsoft"
_NORM = ("weight", "bias")
_ZERO = 128  # zero point of activations of either sign
_GELU_MIN, _GELU_ZERO = 0.17, 32  # GELU never falls below -0.17: most of the 8 bits go to the positive side
_MASKED = -60.0
"""Added to the score of padding: e**-60 is nothing in 24 bits, unless scores of a text differ by more than 40. (Vectors
of MiniLM, alone and padded, differ by 3e-8.) Of the usual -10,000 ONNX Runtime makes e**-88, a denormal number, with
which a CPU multiplies at a fraction of its speed: attention over padding took 1.7 times as long.
"""


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
    """The last hidden states, [batch, sequence, hidden]; on the way all tokens lie in one row, [1, tokens, hidden]."""
    eps, heads, width = config["layer_norm_eps"], config["num_attention_heads"], config["hidden_size"]
    in_a_row = graph.constant("in_a_row", np.array([1, -1, width], np.int64))
    by_text = graph.add(
        "Concat", [graph.add("Shape", ["input_ids"]), graph.constant("width", np.array([width], np.int64))], axis=0
    )

    def weight(name: str) -> str:
        return graph.constant(name, weights[name])

    def norm(x: str, residual: str, dense: str, layer_norm: str) -> str:
        total = graph.add("Add", [graph.add("Add", [x, weight(f"{dense}.bias")]), residual])
        ones, zeros = (graph.for_each_token(value, graph.kinds.FLOAT) for value in (1.0, 0.0))
        even = graph.add("InstanceNormalization", [total, ones, zeros], epsilon=eps)
        scaled = graph.add("Mul", [even, weight(f"{layer_norm}.weight")])
        return graph.add("Add", [scaled, weight(f"{layer_norm}.bias")])

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
    embedded = graph.add("EmbedLayerNormalization", embedding, outputs=2, contrib=True, epsilon=eps)
    x = graph.add("Reshape", [embedded, in_a_row])
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."
        qkv = [f"{p}attention.self.{part}" for part in ("query", "key", "value")]
        projected = graph.linear(x, {name: weights[f"{name}.weight"].T for name in qkv})
        attending = [graph.add("Reshape", [one, by_text]) for one in projected]
        bias = graph.constant(f"{p}qkv.bias", np.concatenate([weights[f"{name}.bias"] for name in qkv]))
        attended = graph.add(
            "MultiHeadAttention", [*attending, bias, mask], contrib=True, num_heads=heads, mask_filter_value=_MASKED
        )
        dense = f"{p}attention.output.dense"
        (y,) = graph.linear(graph.add("Reshape", [attended, in_a_row]), {dense: weights[f"{dense}.weight"].T})
        x = norm(y, x, dense, f"{p}attention.output.LayerNorm")

        dense = f"{p}intermediate.dense"
        (y,) = graph.linear(x, {dense: weights[f"{dense}.weight"].T})
        y = graph.add("BiasGelu", [y, weight(f"{dense}.bias")], contrib=True)
        dense = f"{p}output.dense"
        (y,) = graph.linear(y, {dense: weights[f"{dense}.weight"].T}, after_gelu=True)
        x = norm(y, x, dense, f"{p}output.LayerNorm")
    return graph.add("Reshape", [x, by_text])


class _Graph:
    """Nodes and constants of the graph being written; a tensor is known by its name."""

    def __init__(self, precision: Precision) -> None:
        import onnx

        self.onnx = onnx
        self.kinds = onnx.TensorProto
        self.precision = precision
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self._for_each_token: dict[tuple[float, int], str] = {}

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

    def for_each_token(self, value: float, kind: int) -> str:
        """A vector [tokens] of one value; each is made once."""
        if (value, kind) not in self._for_each_token:
            all_ids = self.add("Reshape", ["input_ids", self.constant("last", np.array([-1], np.int64))])
            fill = self.onnx.helper.make_tensor("value", kind, [1], [value])
            filled = self.add("ConstantOfShape", [self.add("Shape", [all_ids])], value=fill)
            self._for_each_token[value, kind] = filled
        return self._for_each_token[value, kind]

    def linear(self, x: str, matrices: dict[str, NDArray[np.float32]], *, after_gelu: bool = False) -> list[str]:
        """`x @ matrix` for each [inputs, outputs] matrix; `x` is [1, tokens, inputs], in fp32 of any shape."""
        if self.precision == "fp32":
            return [self.add("MatMul", [x, self.constant(name, m)]) for name, m in matrices.items()]
        quantised, scale, zero_point = self._quantised(x, after_gelu=after_gelu)
        one = self.constant("one", np.array(1, np.float32))
        results = []
        for name, matrix in matrices.items():
            step = _pair_sums(matrix).max(axis=0) / 127
            weight = self.constant(name, np.rint(matrix / step).astype(np.int8))
            steps = self.constant(f"{name}.step", step)
            y = self.add("MatMulIntegerToFloat", [quantised, weight, one, steps, zero_point], contrib=True)
            results.append(self.add("Mul", [y, scale]))
        return results

    def _quantised(self, x: str, *, after_gelu: bool) -> tuple[str, str, str]:
        """`x` as uint8, one scale per token: (quantised, scale [1, tokens, 1], zero point)."""
        zero = _GELU_ZERO if after_gelu else _ZERO
        last = self.constant("last", np.array([-1], np.int64))
        largest = self.add("ReduceMax", [x if after_gelu else self.add("Abs", [x]), last], keepdims=1)
        factor = 1 / (255 - zero)
        scale = self.add("Mul", [largest, self.constant(f"factor_{factor:.6f}", np.array(factor, np.float32))])
        if after_gelu:
            scale = self.add("Max", [scale, self.constant("gelu_scale", np.array(_GELU_MIN / zero, np.float32))])
        zeros = self.for_each_token(zero, self.kinds.UINT8)
        quantised = self.add("QuantizeLinear", [x, self.add("Reshape", [scale, last]), zeros], axis=1)
        return quantised, scale, self.constant(f"zero_{zero}", np.array(zero, np.uint8))

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
