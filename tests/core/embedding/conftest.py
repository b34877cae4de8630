"""One exported model per test session: exporting and loading take a second each."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeintel_core.embedding.local import LocalEncoder


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def int8(models_dir: Path) -> LocalEncoder:
    return LocalEncoder(models_dir, "int8")


@pytest.fixture(scope="session")
def fp32(models_dir: Path) -> LocalEncoder:
    return LocalEncoder(models_dir, "fp32")
