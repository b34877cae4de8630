"""Builds on an engine, compared by what they wrote."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from benchmarks.plain_build import build
from codeintel_core.embedding import embed
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_pipelines.build import work
from tests.conftest import Repo

MANY = {
    f"src/module_{number}.py": f'"""Part {number}."""\n\n\ndef part_{number}(value):\n    return value + {number}\n'
    for number in range(24)
}


def in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two files and of two texts: enough of them for workers to die in between."""
    monkeypatch.setattr(work, "_BATCH_FILES", 2)  # as they are, it takes 512 files to have two batches,
    monkeypatch.setattr(work, "_TEXTS_WORTH", 0)  # ten seconds of embedding to have a pool at all,
    monkeypatch.setattr(embed, "_SLICE_TEXTS", 2)  # and 1,024 texts to have two slices


def digests(root: Path, models: Path, source: Repo, **settings: object) -> dict[str, str]:
    """SHA-256 of the tables that one build in a home of its own writes: chunks, symbols, text keys and vectors."""
    root.mkdir()
    (root / "models").symlink_to(models)
    home = Home(root)
    mirror.add(home, str(source.path), name="calculator")
    manifest = build(home, Settings(home=root, embedding_threads=1, **settings), "calculator")  # type: ignore[arg-type]
    folder = home.repository("calculator").generation(manifest.gen_id)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
        if path.is_file()
    }
