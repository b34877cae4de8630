"""Builds that go wrong: one clear error each, nothing half-published, and the next build completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from codeintel_core.errors import BuildInProgress, NothingToIndex, UnknownRepository
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_pipelines import runs
from codeintel_pipelines.build import lease, verify
from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.verify import Verdict
from codeintel_pipelines.definitions import defs
from tests.conftest import GitRepo, Repo
from tests.pipelines.conftest import add_and_build, tables

pytestmark = pytest.mark.e2e


def test_only_binary_files(home: Home, git_repo: GitRepo) -> None:
    source = git_repo({"a.bin": b"\0\1\2", "b.bin": b"\0"}, name="binary")
    with pytest.raises(NothingToIndex, match=r"nothing to index \(2 binary\)"):
        add_and_build(home, source, "binary")
    assert current_id(home.repository("binary")) is None


def test_empty_tree(home: Home, git_repo: GitRepo) -> None:
    source = git_repo(name="empty")
    source.commit()
    with pytest.raises(NothingToIndex, match="no files"):
        add_and_build(home, source, "empty")


def test_unknown_repository_starts_no_run(home: Home) -> None:
    with pytest.raises(UnknownRepository, match="codeintel add"):
        runs.build(home, "nobody")


def test_a_failing_check_keeps_the_previous_generation(
    home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = add_and_build(home, source)
    source.commit({"src/new.py": "def never_seen():\n    return 0\n"})
    wrong = Verdict(False, {"wrong": ["x:1"]})
    refused = lambda *_: wrong  # noqa: E731
    monkeypatch.setattr(verify, "citations_match_source", refused)  # chunks are cut from git: they always match
    with pytest.raises(runs.BuildFailed, match="citations_match_source"):
        add_and_build(home, source)
    assert current_id(home.repository("calculator")) == first.gen_id
    monkeypatch.undo()

    def catalog_adds_up(build: Build) -> Verdict:
        return Verdict(False, {"wrong": 1})

    monkeypatch.setitem(verify.CHECKS, "catalog", (catalog_adds_up,))  # nor can a build stage a catalog that does not
    with pytest.raises(runs.BuildFailed, match=r"catalog.*catalog_adds_up"):
        add_and_build(home, source)
    assert current_id(home.repository("calculator")) == first.gen_id
    monkeypatch.undo()
    assert add_and_build(home, source).parent == first.gen_id


def test_a_damaged_parent_is_not_built_upon(home: Home, source: Repo) -> None:
    first = add_and_build(home, source)
    path = tables(home, first) / "chunks.parquet/part-0000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    source.commit({"src/new.py": "def repaired():\n    return 0\n"})
    second = add_and_build(home, source)
    assert second.reuse["files"] == 0
    tables(home, second)


def test_a_vanished_source_is_built_from_the_mirror(home: Home, source: Repo) -> None:
    mirror.add(home, str(source.path), name="calculator")
    source.path.rename(source.path.with_name("gone"))
    assert runs.build(home, "calculator").counts.chunks > 0


def test_a_lease_of_a_living_run_is_respected_and_a_dead_one_taken_over(home: Home, source: Repo) -> None:
    mirror.add(home, str(source.path), name="calculator")
    repository = home.repository("calculator")
    lease.acquire(repository, "run-a", lambda _: False)
    with pytest.raises(BuildInProgress, match="run-a"):
        lease.acquire(repository, "run-b", lambda _: False)
    lease.acquire(repository, "run-b", lambda run: run == "run-a")
    with pytest.raises(BuildInProgress):
        lease.require(repository, "run-a")
    lease.release(repository, "run-b")
    lease.acquire(repository, "run-c", lambda _: False)


def _build_process(home: Home) -> subprocess.Popen[str]:
    code = "from codeintel_core.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "build", "calculator"],
        env={**os.environ, "CODEINTEL_HOME": str(home.root)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _wait_for_lease(home: Home) -> None:
    deadline = time.monotonic() + 180
    while not home.repository("calculator").lease.exists():
        assert time.monotonic() < deadline, "the build never started"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_build_publishes_nothing_and_the_next_completes(
    home: Home, source: Repo, how: signal.Signals
) -> None:
    source.commit({f"src/module_{i}.py": f"def function_{i}(x):\n    return x + {i}\n" * 20 for i in range(60)})
    mirror.add(home, str(source.path), name="calculator")
    process = _build_process(home)
    _wait_for_lease(home)
    process.send_signal(how)
    _, error = process.communicate(timeout=120)
    if how is signal.SIGINT:
        assert error.strip().splitlines() == [
            "error: interrupted; nothing half-done was published, run it again and it goes on"
        ]
    assert process.returncode != 0
    assert current_id(home.repository("calculator")) is None
    assert runs.build(home, "calculator").counts.files == 64


def test_a_second_build_at_once_says_so(home: Home, source: Repo) -> None:
    """This process builds; another is told who does. Two real builds at once: the drills."""
    mirror.add(home, str(source.path), name="calculator")
    with runs.instance(home) as instance:
        mine = instance.create_run_for_job(defs.resolve_job_def("collect_garbage")).run_id  # never launched
    lease.acquire(home.repository("calculator"), mine, lambda _: False)
    second = _build_process(home)
    _, error = second.communicate(timeout=240)
    assert second.returncode == 1
    assert f"is being built by run {mine[:8]}" in error
    assert len(error.strip().splitlines()) == 1
    lease.release(home.repository("calculator"), mine)
    assert runs.build(home, "calculator").counts.files > 0
