"""The encoder equals the reference implementation, whatever the batch, the order, the thread or the text.

golden.npz holds 12 texts (JSON) and their vectors, float32 (12, 384), from transformers 5.23.0 on torch 2.13.0 (CPU):
AutoModel on the package's weights, one text at a time, max_length 256, mean pooling over the mask, L2 norm.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from codeintel_core.embedding.local import LocalEncoder, local_contract

GOLDEN = np.load(Path(__file__).with_name("golden.npz"))
TEXTS: list[str] = json.loads(str(GOLDEN["texts"]))
VECTORS = GOLDEN["vectors"]


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.sum(a.astype(np.float64) * b, axis=-1))


@pytest.mark.e2e
def test_fp32_equals_the_reference(fp32: LocalEncoder) -> None:
    assert cosines(fp32.encode_documents(TEXTS), VECTORS).min() >= 0.9999


def test_int8_is_close_to_the_reference(int8: LocalEncoder) -> None:
    similar = cosines(int8.encode_documents(TEXTS), VECTORS)
    assert similar.min() >= 0.98  # the blank texts, two special tokens and nothing else
    assert similar[[bool(text.strip()) for text in TEXTS]].min() >= 0.99


@pytest.mark.e2e
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_vector_does_not_depend_on_its_batch(precision: str, request: pytest.FixtureRequest) -> None:
    encoder: LocalEncoder = request.getfixturevalue(precision)
    texts = [text[:n] for text in TEXTS for n in (40, 90, 700)]
    together = encoder.encode_documents(texts)
    backwards = encoder.encode_documents(texts[::-1])[::-1]
    alone = np.stack([encoder.encode_query(text) for text in texts])
    assert cosines(together, backwards).min() >= 0.99999
    assert cosines(together, alone).min() >= 0.99999


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("threads", "batch_tokens"), [(1, 64), (3, 64), (1, 1 << 20)], ids=["small", "side by side", "one, mostly padding"]
)
def test_batches_give_the_same_vectors_in_order(
    threads: int, batch_tokens: int, models_dir: Path, int8: LocalEncoder
) -> None:
    texts = [text[:n] for text in TEXTS for n in (40, 90, 700)]
    other = LocalEncoder(models_dir, "int8", threads, batch_tokens)
    alone = np.stack([int8.encode_query(text) for text in texts])
    assert cosines(other.encode_documents(texts), alone).min() >= 0.99999


@pytest.mark.e2e
def test_threads_share_one_encoder(int8: LocalEncoder) -> None:
    expected = int8.encode_documents(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(int8.encode_query, TEXTS * 5))
    assert cosines(np.stack(results), np.tile(expected, (5, 1))).min() >= 0.99999


def test_shape_type_and_norm(int8: LocalEncoder) -> None:
    assert int8.encode_documents([]).shape == (0, 384)
    vector = int8.encode_query("binary search")
    assert vector.shape == (384,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "text",
    ["", " \n\t", "\x00", "a\x00b", "\ud800", "caf\ud800é", "🚀👩‍💻", "word " * 20_000, "x" * 100_000, "\u202e\ufeff"],
    ids=["empty", "blank", "nul", "nul inside", "surrogate", "mixed", "emoji", "long", "one word", "controls"],
)
def test_any_text_has_a_unit_vector(text: str, int8: LocalEncoder) -> None:
    vectors = int8.encode_documents([text, "neighbour"])
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-4)


def test_only_the_first_256_tokens_count(int8: LocalEncoder) -> None:
    head = "alpha " * 254
    assert int8.count_tokens(["", "alpha", head, head + "beta"]) == [2, 3, 256, 257]
    assert cosines(int8.encode_query(head), int8.encode_query(head + "beta " * 50)) >= 0.99999
    assert cosines(int8.encode_query(head), int8.encode_query("beta " * 50 + head)) < 0.999


def test_precisions_have_different_contracts(int8: LocalEncoder) -> None:
    assert int8.contract == local_contract("int8")
    assert local_contract("int8").contract_id != local_contract("fp32").contract_id


@pytest.mark.e2e
def test_importing_the_room_loads_no_heavy_library() -> None:
    code = (
        "import sys, codeintel_core.embedding.local, codeintel_core.embedding.embed\n"
        "print([m for m in ('onnxruntime', 'onnx', 'tokenizers', 'safetensors', 'torch') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
