"""Without a GPU the CPU index answers with the same hits, and says why when a GPU was asked for.

The clone itself is not tested here: there is no GPU. What is tested is every way it can fail to come about.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from codeintel_core.indexes import dense_build, gpu
from codeintel_core.indexes.dense import DenseIndex, Operating


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(50, dtype=np.int64)
    dense_build.build_primary(vectors, ids, tmp_path, flat_max=100, min_recall=0.9)
    dense_build.write_secondary(vectors[:0], ids[:0], ids[:0], tmp_path)
    return tmp_path


def _hits(folder: Path, device: gpu.Wanted) -> tuple[list[int], gpu.Device]:
    index = DenseIndex.open(folder, Operating(), device)
    return index.search(np.eye(8, dtype=np.float32)[0], 5)[0].tolist(), index.primary.device


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this FAISS is built for GPUs")
def test_a_cpu_build_of_faiss_answers_and_says_so(folder: Path) -> None:
    expected, device = _hits(folder, "cpu")
    assert device == gpu.Device("cpu")
    hits, device = _hits(folder, "gpu")
    assert hits == expected
    assert device.name == "cpu"
    assert "extra `gpu`" in device.reason
    assert device.text.startswith("cpu (this FAISS")


def test_auto_takes_the_cpu_without_a_complaint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 0)
    assert _hits(folder, "auto") == (_hits(folder, "cpu")[0], gpu.Device("cpu"))


def test_a_gpu_build_without_a_usable_gpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise RuntimeError("Error in StandardGpuResources:\nCUDA error 100 no CUDA-capable device is detected")

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", refuse, raising=False)
    for wanted in ("auto", "gpu"):
        hits, device = _hits(folder, wanted)
        assert hits == _hits(folder, "cpu")[0]
        assert device.reason == "the GPU cannot be used: CUDA error 100 no CUDA-capable device is detected"
