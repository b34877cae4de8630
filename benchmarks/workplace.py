"""The repository that is measured, and a home that is thrown away afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from codeintel_core.home import Home
from codeintel_core.settings import Settings

NAME = "measured"


@dataclass(frozen=True, slots=True)
class Workplace:
    """What every subject gets: a clone of the repository to commit to, a fresh home, and the sizes to try."""

    folder: Path
    repo: Path  # as given
    name: str  # of the repository, in the results
    sizes: tuple[int, ...]  # of the dense and growth subjects

    @property
    def source(self) -> Path:
        """A clone of the repository with a work tree."""
        target = self.folder / "source"
        if not target.exists():
            run_git(self.folder, "clone", "--quiet", str(self.repo), str(target))
            run_git(target, "config", "user.name", "bench")
            run_git(target, "config", "user.email", "bench@example.org")
        return target

    @property
    def home(self) -> Home:
        """The home of this run."""
        root = self.folder / "home"
        root.mkdir(exist_ok=True)
        return Home(root)

    @property
    def settings(self) -> Settings:
        """Settings with that home, everything else as configured."""
        return Settings(home=self.home.root)

    def files(self) -> list[tuple[str, bytes]]:
        """Path and content of every regular file of the commit."""
        names = run_git(self.source, "ls-files", "-z").rstrip("\0").split("\0")
        paths = [(name, self.source / name) for name in names]
        return [(name, path.read_bytes()) for name, path in paths if path.is_file() and not path.is_symlink()]

    def codeintel(self, *arguments: str) -> subprocess.Popen[str]:
        """The command line of the product, on the home of this run."""
        code = "from codeintel_core.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, "CODEINTEL_HOME": str(self.home.root), "DAGSTER_HOME": str(self.home.dagster)},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def run_git(at: Path, *arguments: str) -> str:
    """Output of a git command."""
    return subprocess.run(["git", "-C", str(at), *arguments], check=True, capture_output=True, text=True).stdout
