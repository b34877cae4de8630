"""Reading git: awkward trees come back exactly or with a reason, and nothing a caller types becomes an option."""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from codeintel_core.errors import GitFailed, InvalidRevision
from codeintel_core.repository.git import GitRepository, environment, run_git
from tests.conftest import GitRepo

_AWKWARD = ["-dash.py", "a\nb.py", "tab\there.py", 'quo"te.py', "back\\slash.py", "*.py", ":(top)x", "ünï—😀.py", " "]


def test_a_tree_lists_every_name_exactly(git_repo: GitRepo) -> None:
    repo = git_repo({name: f"{name}!" for name in [*_AWKWARD, "src/deep/a.py"]})
    git = GitRepository(repo.path)
    sha = git.resolve("main")
    entries = git.tree(sha)
    assert {entry.path for entry in entries} == {*_AWKWARD, "src/deep/a.py"}
    assert all(entry.skip_reason == "" and entry.size_bytes == len(f"{entry.path}!".encode()) for entry in entries)
    contents = dict(git.blobs([entry.blob for entry in entries]))
    for entry in entries:
        assert contents[entry.blob] == git.blob_at(sha, entry.path) == f"{entry.path}!".encode()


def test_what_is_not_an_ordinary_file_has_a_reason(git_repo: GitRepo) -> None:
    inner = git_repo({"x": "x"}, name="inner")
    repo = git_repo({"a.py": "x"})
    os.symlink("/etc/passwd", repo.path / "link")
    (repo.path / os.fsdecode(b"caf\xe9.py")).write_text("latin")
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(inner.path), "sub")
    sha = repo.commit()
    git = GitRepository(repo.path)
    reasons = {entry.path: entry.skip_reason for entry in git.tree(sha)}
    assert reasons == {
        ".gitmodules": "", "a.py": "", "link": "symlink", "sub": "submodule", "caf\\xe9.py": "path_encoding",
    }  # fmt: skip
    assert git.blob_at(sha, "link") is None
    assert git.blob_at(sha, "sub") is None


@pytest.mark.parametrize(
    "path",
    ["", ".", "/", "..", "../x", "/etc/passwd", "src", "src/", "src//a.py", "./src/a.py", "src/../src/a.py", "*",
     "src/*", ":(top)src/a.py", "--output=x", "a\0b", "\ud800", "x" * 300_000, "missing", "src/a.py/b", ".git/config"],
)  # fmt: skip
def test_a_path_that_is_no_file_of_the_commit(git_repo: GitRepo, path: str) -> None:
    git = GitRepository(git_repo({"src/a.py": "x"}).path)
    assert git.blob_at(git.resolve("main"), path) is None


@pytest.mark.parametrize("kind", ["branch", "tag", "annotated", "short id", "id", "@", "HEAD"])
def test_revisions(git_repo: GitRepo, kind: str) -> None:
    repo = git_repo({"a": "1"})
    sha = repo.git("rev-parse", "HEAD")
    repo.git("tag", "v1")
    repo.git("tag", "-a", "v2", "-m", "two")
    name = {"branch": "main", "tag": "v1", "annotated": "v2", "short id": sha[:8], "id": sha}.get(kind, kind)
    assert GitRepository(repo.path).resolve(name) == sha


@pytest.mark.parametrize(
    "revision",
    ["", "--output={out}", "-h", "--all", "a..b", "main..main", "main...main", "^main", "main --output={out}", "a\0b",
     "main\n", "main\nmain", "$(touch {out})", "`touch {out}`", "main:a", "main^{{tree}}", "nope", "0" * 40, "x" * 301,
     "\ud800", "main@{{u}}"],
)  # fmt: skip
def test_revisions_that_name_no_commit(git_repo: GitRepo, tmp_path: Path, revision: str) -> None:
    out = tmp_path / "written"
    with pytest.raises(InvalidRevision) as raised:
        GitRepository(git_repo({"a": "1"}).path).resolve(revision.format(out=out))
    assert not out.exists()
    assert "\n" not in str(raised.value)


def test_a_commit(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = git_repo({"a": "1"})
    git = GitRepository(repo.path)
    old = git.resolve("main")
    assert git.commit(old).committed_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    new = repo.commit({"a": "2"}, message="Größe: two\n\nmore")
    assert git.commit(new).subject == "Größe: two"
    assert git.missing(old, new) == (1, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert git.missing(new, old) == (0, None)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "@99999999999999 +0000")
    assert git.commit(repo.commit()).committed_at.year == 9999


def test_an_empty_subject(git_repo: GitRepo) -> None:
    repo = git_repo({"a": "1"})
    sha = repo.git("commit-tree", "HEAD^{tree}")
    assert GitRepository(repo.path).commit(sha).subject == ""


def test_blobs_keep_order_bytes_and_size(git_repo: GitRepo) -> None:
    contents = {"empty": b"", "binary": bytes(range(256)) * 300, "crlf": b"a\r\nb", "newlines": b"\n\n"}
    repo = git_repo(contents)
    git = GitRepository(repo.path)
    blobs = {entry.path: entry.blob for entry in git.tree(git.resolve("main"))}
    order = ["crlf", "empty", "binary", "newlines", "crlf"]
    assert list(git.blobs([blobs[name] for name in order])) == [(blobs[name], contents[name]) for name in order]
    assert list(git.blobs([])) == []


def test_a_missing_object_is_an_error(git_repo: GitRepo) -> None:
    git = GitRepository(git_repo({"a": "1"}).path)
    with pytest.raises(GitFailed, match="0" * 40):
        list(git.blobs(["0" * 40]))


def test_a_git_that_dies_is_an_error_and_not_a_short_answer(git_repo: GitRepo) -> None:
    repo = git_repo({"a": "1"})
    blob = repo.git("rev-parse", "HEAD:a")
    (repo.path / ".git" / "HEAD").write_text("junk")  # git refuses the repository and ends at once
    with pytest.raises(GitFailed, match=r"0 of 1|missing"):
        list(GitRepository(repo.path).blobs([blob]))


def test_a_reader_that_stops_early_leaves_no_process(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    repo = git_repo({str(i): str(i) * 5000 for i in range(50)})
    git = GitRepository(repo.path)
    oids = [entry.blob for entry in git.tree(git.resolve("main"))] * 50
    monkeypatch.setattr(subprocess, "Popen", Noted)  # only to see it
    blobs = git.blobs(oids)
    next(blobs)
    blobs.close()
    assert [process.returncode is None for process in started] == [False], "waited for"


def test_configuration_and_environment_of_the_caller_do_not_count(
    git_repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = git_repo({"a": "1"})
    (tmp_path / "config").write_text("[core]\n\tabbrev = 5\n[alias]\n\tx = !touch hacked\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "touch hacked")
    assert "GIT_DIR" not in environment()
    assert len(run_git(repo.path, ["rev-parse", "--short", "HEAD"], timeout_s=60).strip()) > 5


def test_a_failure_names_the_command_in_one_line(git_repo: GitRepo) -> None:
    repo = git_repo({"a": "1"})
    with pytest.raises(GitFailed, match=r"^git show: .*nope.*$"):
        run_git(repo.path, ["show", "nope"], timeout_s=60)
    with pytest.raises(GitFailed, match="CODEINTEL_GIT_TIMEOUT_S"):
        run_git(repo.path, ["cat-file", "--batch"], timeout_s=1e-9)
