"""The commands of docs/operations.md run, in their order, on a real repository with a history."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from codeintel_core.generations.reader import kept
from codeintel_core.home import Home
from tests.conftest import GitRepo

PAGE = (Path(__file__).parents[1] / "docs/operations.md").read_text()
SOURCE = '''"""Settings of the program."""


def parse_config_file(path):
    """Load settings from a configuration file."""
    return dict(line.split("=") for line in open(path))
'''


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.e2e
def test_the_commands_of_the_operations_page(tmp_path: Path, git_repo: GitRepo) -> None:
    source = git_repo({"settings.py": SOURCE}, name="my-repo")
    home = Home(tmp_path / "home")
    env = {**os.environ, "CODEINTEL_HOME": str(home.root), "CODEINTEL_RETRIEVAL_BUDGET_MS": "20000"}
    folder = tmp_path / "work"
    folder.mkdir()
    (toml,) = _blocks("toml")
    (folder / "repositories.toml").write_text(toml.replace("../my-repo", str(source.path)))
    commands = [line for block in _blocks("sh") for line in block.splitlines()]
    assert len(commands) >= 12
    for command in commands:
        name, *arguments = shlex.split(command, comments=True)
        assert name == "codeintel"
        if arguments[:2] == ["build", "--all"]:
            source.commit({"more.py": "def more():\n    return 1\n"})
        generations = kept(home.repository("my-repo"))
        named = {"OLD": generations[0], "NEW": generations[-1]} if generations else {}
        arguments = [named.get(argument, argument) for argument in arguments]
        arguments = [str(source.path) if argument == "../my-repo" else argument for argument in arguments]
        run = [sys.executable, "-c", "from codeintel_core.cli import main; main()", *arguments]
        done = subprocess.run(run, env=env, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if arguments[0] == "diff":
            assert "+ more.py:1-2 more" in done.stdout
        if arguments[0] == "read":
            assert done.stdout.splitlines()[-1].startswith("def parse_config_file")  # line 4
        if arguments[0] == "search":
            assert done.stdout.startswith("settings.py:")
    assert len(kept(home.repository("my-repo"))) == 3  # two builds and a compaction
