"""A SPLADE folder gives the weights that the formula gives, from safetensors and from ONNX alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from codeintel_core.embedding.sparse.contract import IMPACTS_PER_UNIT
from codeintel_core.embedding.sparse.local import LocalSparseEncoder, folder_contract
from codeintel_core.errors import ModelUnavailable
from tests import tiny_splade

TEXTS = ["split the expression", "def parse_term(tokens):", "WriteSnapshot persist", "", "zebra", "parser " * 200]


def _encoder(folder: Path, models: Path, **most: int) -> LocalSparseEncoder:
    contract = folder_contract(folder, **{"document_terms": 100, "query_terms": 100, **most})
    return LocalSparseEncoder(folder, models, contract)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_splade.write_model(tmp_path_factory.mktemp("sparse") / "tiny-splade")


@pytest.fixture(scope="module")
def encoder(model: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalSparseEncoder:
    return _encoder(model, tmp_path_factory.mktemp("models"))


def test_weights_are_those_of_the_formula_whatever_the_batch(encoder: LocalSparseEncoder) -> None:
    together = encoder.encode_documents(TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        tokens = encoder._tokenizer.encode(text).ids[:64]
        weights = np.rint(tiny_splade.expected(tokens) * IMPACTS_PER_UNIT)
        assert dict(found.tolist()) == {term: int(weights[term]) for term in np.flatnonzero(weights)}
        assert np.array_equal(encoder.encode_query(text), found)  # padding beside longer texts changes nothing


def test_a_text_is_expanded_by_its_synonyms_and_may_say_nothing(encoder: LocalSparseEncoder) -> None:
    vocab = tiny_splade.vocabulary()
    split, persist, blank, unknown = encoder.encode_documents(["split", "persist", "", "zebra"])
    assert split[:, 0].tolist() == sorted([vocab["split"], vocab["tokenize"]])
    assert persist[:, 0].tolist() == sorted([vocab["persist"], vocab["write"]])
    assert blank.shape == unknown.shape == (0, 2)


def test_terms_are_cut_to_the_contract(model: Path, tmp_path: Path) -> None:
    encoder = _encoder(model, tmp_path, document_terms=2, query_terms=1)
    text = "split the expression parser"
    assert len(encoder.encode_documents([text])[0]) == 2
    assert len(encoder.encode_query(text)) == 1


def test_half_precision_weights_are_read(encoder: LocalSparseEncoder, tmp_path: Path) -> None:
    half = _encoder(tiny_splade.write_model(tmp_path / "half", dtype=np.float16), tmp_path)
    assert half.encode_query("parser").tolist() == encoder.encode_query("parser").tolist()


def test_the_export_is_done_once_and_a_damaged_one_again(model: Path, tmp_path: Path) -> None:
    first = _encoder(model, tmp_path).encode_query("split")
    (target,) = tmp_path.glob("*.onnx")
    before = target.stat().st_mtime_ns
    _encoder(model, tmp_path)
    assert target.stat().st_mtime_ns == before
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 1
    target.write_bytes(data)
    assert np.array_equal(_encoder(model, tmp_path).encode_query("split"), first)


def test_the_contract_changes_with_the_weights_and_the_terms(model: Path, tmp_path: Path) -> None:
    here = folder_contract(model, document_terms=5, query_terms=5)
    assert here == folder_contract(model, document_terms=5, query_terms=5)
    assert here.contract_id != folder_contract(model, document_terms=6, query_terms=5).contract_id
    other = tiny_splade.write_model(tmp_path / "tiny-splade", {"split": "parse"})
    assert folder_contract(other, document_terms=5, query_terms=5).revision != here.revision
    assert (here.vocabulary, here.max_tokens) == (len(tiny_splade.vocabulary()), 64)


def _onnx_folder(folder: Path, model: Path, values: np.ndarray) -> Path:
    """A graph that answers `values`, [vocabulary], as logits of every token."""
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    shape = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in ("input_ids",)]
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "zero"], ["zeros"]),
        helper.make_node("Unsqueeze", ["zeros", "last"], ["column"]),
        helper.make_node("Add", ["column", "values"], ["logits"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array(0, np.float32), "zero"),
        onnx.numpy_helper.from_array(np.array([-1], np.int64), "last"),
        onnx.numpy_helper.from_array(values.astype(np.float32), "values"),
    ]
    out = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", "s", len(values)])
    graph = helper.make_graph(nodes, "mlm", shape, [out], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), folder / "model.onnx"
    )
    return folder


def test_logits_of_an_onnx_model_are_pooled_here(model: Path, tmp_path: Path) -> None:
    values = np.full(len(tiny_splade.vocabulary()), -3.0)
    values[7], values[9] = np.e - 1, 0.5
    encoder = _encoder(_onnx_folder(tmp_path / "onnx", model, values), tmp_path)
    impacts = [[7, 100], [9, round(100 * np.log(1.5))]]
    assert [found.tolist() for found in encoder.encode_documents(["parser", "parser term"])] == [impacts, impacts]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(66, np.nan), "not finite"),
        (np.full(66, np.inf), "not finite"),
        (np.zeros(10), "answered 10 weights for a vocabulary of"),
    ],
)
def test_a_model_that_answers_nonsense_is_refused(model: Path, tmp_path: Path, values: np.ndarray, reason: str) -> None:
    size = len(tiny_splade.vocabulary())
    values = values if len(values) == 10 else np.resize(values, size)
    encoder = _encoder(_onnx_folder(tmp_path / "onnx", model, values), tmp_path)
    with pytest.raises(ModelUnavailable, match=reason):
        encoder.encode_query("parser")


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"lacks model\.safetensors; it needs tokenizer\.json and model\.onnx"):
        folder_contract(tmp_path, document_terms=1, query_terms=1)
    weights = tiny_splade.weights()
    del weights["cls.predictions.transform.dense.weight"]
    headless = tiny_splade.write_model(tmp_path / "headless")
    from safetensors.numpy import save_file

    save_file(weights, headless / "model.safetensors")
    with pytest.raises(ModelUnavailable, match="no BERT with its masked language model head"):
        _encoder(headless, tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tokenizer.json").write_bytes((model / "tokenizer.json").read_bytes())
    (broken / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelUnavailable, match="does not load"):
        _encoder(broken, tmp_path)
