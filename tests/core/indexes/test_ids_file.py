"""Chunk ids in `.npy` files: what NumPy writes is read without its reader, and damage is named."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest

from codeintel_core.errors import GenerationCorrupt
from codeintel_core.indexes import ids_file


@pytest.mark.parametrize("rows", [0, 1, 7, 100_000])
def test_what_numpy_wrote_is_mapped_without_its_parser(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.arange(rows, dtype=np.int64) - 3
    np.save(tmp_path / "ids.npy", ids)
    monkeypatch.delattr(ast, "literal_eval")  # which fails at random when threads share it
    found = ids_file.mapped(tmp_path / "ids.npy")
    assert found.dtype == np.int64
    assert np.array_equal(found, ids)


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x93NUMPY", b"something else entirely", saved(np.arange(9))[:-1], saved(np.arange(9))[:20],
     saved(np.arange(9, dtype=np.float32)), saved(np.zeros((3, 3), np.int64)), b"\x93NUMPY\x09\x00" + b" " * 99],
    ids=["empty", "magic", "other", "cut", "cut header", "other type", "other shape", "other version"],
)  # fmt: skip
def test_damage_is_named(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "ids.npy").write_bytes(data)
    with pytest.raises(GenerationCorrupt, match=r"ids.npy is damaged"):
        ids_file.mapped(tmp_path / "ids.npy")
