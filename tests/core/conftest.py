"""Fixtures of the core: an empty home, and homes with published generations, built once and copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import RepositoryReader
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


Template = Callable[..., Path]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Factory: a folder with a home and its source in which these files were published, one generation each."""

    def build(*generations: specimen.Files) -> Path:
        folder = tmp_path_factory.mktemp("template")
        repo = Repo(folder / "source")
        for files in generations:
            specimen.publish_files(Home(folder / "home"), repo, files)
        return folder

    return build


def copied(template: Path, home: Home, source: Repo) -> list[Path]:
    """Make `home` and `source` those of a template; returns the generations of `demo`, oldest first."""
    shutil.copytree(template / "home", home.root, ignore=shutil.ignore_patterns("*.sample"))
    shutil.copytree(template / "source", source.path, dirs_exist_ok=True)
    demo = home.repository("demo")
    demo.registration.write_text(json.dumps({"name": "demo", "source": str(source.path), "branch": ""}))
    return sorted(demo.generations.iterdir())


@pytest.fixture(scope="session")
def one(template: Template) -> Path:
    """The template of `published`."""
    return template(specimen.FILES)


@pytest.fixture
def published(home: Home, source: Repo, one: Path) -> Path:
    """Folder of a published generation of the repository `demo` (see `specimen.FILES`)."""
    (folder,) = copied(one, home, source)
    return folder


@pytest.fixture(scope="session")
def standing(template: Template) -> Iterator[Generation]:
    """The same generation, open, for all tests that only read it."""
    reader = RepositoryReader(Home(template(specimen.FILES) / "home").repository("demo"))
    yield reader.acquire()
    reader.close()
