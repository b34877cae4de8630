"""The model is exported once, survives damage, and concurrent exporters leave one sound file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codeintel_core.embedding import model_files, onnx_bert
from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.errors import ModelUnavailable, StorageFailed

pytestmark = pytest.mark.e2e


def test_the_export_is_cached_and_repaired_when_damaged(models_dir: Path, int8: LocalEncoder) -> None:
    path = model_files.exported(models_dir, "int8")
    sound, written = path.read_bytes(), path.stat().st_mtime_ns
    assert model_files.exported(models_dir, "int8").stat().st_mtime_ns == written

    damaged = bytearray(sound)
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    assert model_files.exported(models_dir, "int8").read_bytes() == sound  # and the export is deterministic


def test_an_interrupted_export_leaves_nothing_and_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        model_files.exported(tmp_path, "int8")
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    LocalEncoder(tmp_path, "int8").encode_query("works")


def test_two_processes_export_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from codeintel_core.embedding.local import LocalEncoder\n"
        "LocalEncoder(pathlib.Path(sys.argv[1]), 'int8').encode_query('works')"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".onnx", ".sha256"]


def test_a_missing_package_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_files, "_PACKAGE", "no_such_package")
    with pytest.raises(ModelUnavailable, match="pip install"):
        model_files.package_dir()


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file, not a folder")
    with pytest.raises(StorageFailed, match="fix the rights"):
        model_files.exported(tmp_path / "models", "int8")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "config.json").write_text((model_files.package_dir() / "config.json").read_text())
    save_file({}, tmp_path / "model.safetensors")
    with pytest.raises(KeyError):
        onnx_bert.export(tmp_path, tmp_path / "model.onnx", "fp32")
