"""A home of its own for each test, and a real source repository that tests can change and commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_pipelines import runs
from tests.conftest import GitRepo, Repo

FILES = {
    "src/parser.py": '''"""Parse arithmetic."""


def tokenize_expression(text):
    """Split an expression into numbers and operators."""
    return text.replace("(", " ( ").replace(")", " ) ").split()


class ExpressionParser:
    """Recursive descent parser."""

    def parse_term(self, tokens):
        """Parse a product of factors."""
        return tokens.pop(0)
''',
    "src/storage.go": """package storage

// WriteSnapshot persists the state of the machine to disk.
func WriteSnapshot(path string) error {
	return nil
}
""",
    "docs/guide.md": "# Guide\n\nHow to install the calculator and run it.\n\n## Usage\n\nCall the parser.\n",
    "tests/test_parser.py": (
        "from src.parser import tokenize_expression\n\n\ndef test_tokens():\n    assert tokenize_expression('1')\n"
    ),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models: Path) -> Home:
    """An empty home that shares the exported model with the other tests."""
    root = tmp_path / "home"
    root.mkdir()
    (root / "models").symlink_to(models)
    return Home(root)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported models, written once per session."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def source(git_repo: GitRepo) -> Repo:
    """A small repository in three languages with one commit."""
    return git_repo(FILES, name="calculator")


def add_and_build(home: Home, source: Repo, name: str = "calculator") -> Manifest:
    """Register (or refresh) and build through the Dagster job."""
    mirror.add(home, str(source.path), name=name)
    return runs.build(home, name)


def opened(home: Home, manifest: Manifest) -> Generation:
    """The published generation, verified and open."""
    repository = home.repository(manifest.repo)
    return Generation.open(repository.generation(manifest.gen_id), repository.mirror)


def tables(home: Home, manifest: Manifest) -> Path:
    """Folder of a published generation whose digests were checked."""
    folder = home.repository(manifest.repo).generation(manifest.gen_id)
    manifests.verify(folder, manifests.load(folder))
    return folder
