"""Fixtures for all tests: real git repositories, made in the test's own folder under a clean git environment."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from codeintel_core.settings import get_settings
from tests.postgres_server import PostgresServer, postgres_server

# The first example of a property may load a library, and machines are shared: time is measured in benchmarks/ only.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

# CI sets this: a test that is skipped there although it could have run is a failure.
FORBID_SKIPS = bool(os.environ.get("CODEINTEL_FORBID_SKIPS"))
# Minutes and gigabytes: only `make test-vllm`, which makes the environment that this names, collects them.
collect_ignore = [] if os.environ.get("CODEINTEL_VLLM_PYTHON") else ["vllm"]


# The only skips that CI accepts: what `.ci/run` tried to provide and could not, named there by its key. A test asks for
# one with `skip_unavoidable`; any other skip, and one that `.ci/run` did not name, fails the session.
UNAVOIDABLE = {
    "no-chromium": "Chromium is not on PATH (apt-get install chromium)",
    "no-prometheus": "Prometheus is not on PATH (apt-get install prometheus)",
}
_TRIED_IN_VAIN = frozenset(os.environ.get("CODEINTEL_UNAVOIDABLE", "").split())


def skip_unavoidable(key: str) -> NoReturn:
    """Skip a test for something of `UNAVOIDABLE` that this machine lacks."""
    pytest.skip(f"{UNAVOIDABLE[key]} [{key}]")


def _is_avoidable(report: pytest.TestReport) -> bool:
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
    return not any(reason.endswith(f"{UNAVOIDABLE[key]} [{key}]") for key in UNAVOIDABLE if key in _TRIED_IN_VAIN)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why each test was skipped, whatever the options."""
    for report in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"skipped: {report.nodeid}: {report.longrepr[2]}")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail the session for skips where they are forbidden."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if FORBID_SKIPS and exitstatus == 0 and any(map(_is_avoidable, skipped)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


CLEAN_GIT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TEMPLATE_DIR": "",  # no sample hooks, which are half of the files of a small repository
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05Z",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05Z",
}


class Repo:
    """A git repository with a work tree (or a bare one) that a test can change and commit."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", *(["--bare"] if bare else []))

    def git(self, *arguments: str, stdin: bytes = b"") -> str:
        """Output of a git command here, without the last newline; fails the test when git fails."""
        done = subprocess.run(["git", *arguments], cwd=self.path, input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr.decode()}"
        return done.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")

    def write(self, files: Mapping[str, str | bytes | None]) -> None:
        """Write files of the work tree; None deletes one."""
        for name, content in files.items():
            path = self.path / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, files: Mapping[str, str | bytes | None] | None = None, message: str = "change") -> str:
        """Write files, commit everything, return the commit id."""
        self.write(files or {})
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture(scope="session", autouse=True)
def _clean_git() -> Iterator[None]:
    """The developer's git configuration reaches no test, and nothing that tests share."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("GIT_")]:
            patch.delenv(name)
        for name, value in CLEAN_GIT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do their CODEINTEL_* settings."""
    for name in os.environ:
        if name.startswith("CODEINTEL_"):
            monkeypatch.delenv(name)
    get_settings.cache_clear()


GitRepo = Callable[..., Repo]


@pytest.fixture
def git_repo(tmp_path: Path) -> GitRepo:
    """Factory of repositories: `git_repo({"a.py": "x = 1\\n"}, name="demo")` has one commit with that file.

    Without files there is no commit; `bare=True` makes a bare repository.
    """

    def make(files: Mapping[str, str | bytes | None] | None = None, *, name: str = "demo", bare: bool = False) -> Repo:
        repo = Repo(tmp_path / "sources" / name, bare=bare)
        if files is not None:
            repo.commit(files)
        return repo

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server with pgvector for all tests, each of which makes what it needs; it starts when wanted."""
    with postgres_server() as running:
        yield running
