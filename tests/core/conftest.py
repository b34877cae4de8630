"""Fixtures of the core: an empty home, and a home with one published generation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from codeintel_core.home import Home
from tests.conftest import GitRepo, Repo
from tests.core import specimen


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home folder that does not exist yet."""
    return Home(tmp_path / "home")


@pytest.fixture
def source(git_repo: GitRepo) -> Repo:
    """The source repository of `published`; it has no commit until something is published from it."""
    return git_repo()


_template: list[Path] = []  # built by the first test that asks, copied by the others


@pytest.fixture
def published(home: Home, source: Repo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a published generation of the repository `demo` (see `specimen.FILES`)."""
    if not _template:
        built = specimen.publish_files(home, source)
        kept = tmp_path_factory.mktemp("published")
        shutil.copytree(home.root, kept / "home")
        shutil.copytree(source.path, kept / "source")
        _template.append(kept)
        return built
    shutil.copytree(_template[0] / "home", home.root)
    shutil.copytree(_template[0] / "source", source.path, dirs_exist_ok=True)
    demo = home.repository("demo")
    demo.registration.write_text(json.dumps({"name": "demo", "source": str(source.path), "branch": ""}))
    return next(demo.generations.iterdir())
