"""The demo script that `make demo` runs: from nothing to a verified answer, quick again, honest when it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import GitRepo

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
SOURCE = '''"""Queue of jobs."""


def schedule_job(queue, job):
    """Put a job on the queue of its priority."""
    queue[job.priority].append(job)
'''


def _demo(repo: Path, home: Path, question: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "REPO": str(repo), "QUESTION": question, "CODEINTEL_HOME": str(home),
           "BIN": str(Path(sys.executable).parent)}  # fmt: skip
    script = str(ROOT / "deploy" / "demo.sh")
    return subprocess.run([script], env=env, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


def test_demo_answers_with_verified_citations_and_again(tmp_path: Path, git_repo: GitRepo) -> None:
    repo = git_repo({"jobs.py": SOURCE}, name="jobs").path
    for _ in range(2):
        done = _demo(repo, tmp_path / "home", "how is a job scheduled?")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "jobs.py:" in done.stdout
        assert "citations verified, 0 dropped" in done.stdout
    assert len(list((tmp_path / "home" / "repos" / "jobs" / "generations").iterdir())) == 1


def test_demo_fails_on_something_that_is_no_repository(tmp_path: Path) -> None:
    done = _demo(tmp_path, tmp_path / "home", "anything")
    assert done.returncode != 0
    assert "is not a git repository" in done.stderr
