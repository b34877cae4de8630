"""Registration: any kind of source is mirrored, what is not one gets a line that names the fix, nothing half-added."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codeintel_core.errors import (
    CodeIntelError,
    InvalidName,
    InvalidRequest,
    InvalidRevision,
    SourceUnavailable,
    StorageFailed,
    UnknownRepository,
)
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository
from codeintel_core.secrets import without_users
from tests.conftest import GitRepo, Repo


def _content(home: Home, name: str = "demo", path: str = "a.py") -> bytes | None:
    return GitRepository(home.repository(name).mirror).blob_at(mirror.head(home, name), path)


def _refused(home: Home, source: str, kind: type[CodeIntelError], match: str, **options: str) -> str:
    with pytest.raises(kind, match=match) as raised:
        mirror.add(home, source, **options)  # type: ignore[arg-type]
    assert home.repository_names() == []
    assert not home.repos.exists() or list(home.repos.iterdir()) == []
    assert "\n" not in str(raised.value)
    return str(raised.value)


# what can be added


def test_a_checkout_is_mirrored_and_read_without_its_work_tree(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    repo.write({"a.py": "not committed", "b.py": "untracked"})
    entry = mirror.add(home, str(repo.path))
    assert (entry.name, entry.source, entry.branch) == ("demo", str(repo.path), "")
    assert mirror.registration(home, "demo") == entry
    assert _content(home) == b"one"
    assert _content(home, path="b.py") is None


def test_a_bare_repository(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    bare = git_repo(name="bare.git", bare=True)
    repo.git("push", "--quiet", str(bare.path), "main")
    assert mirror.add(home, str(bare.path)).name == "bare"
    assert _content(home, "bare") == b"one"


def test_a_worktree_follows_its_own_head(home: Home, git_repo: GitRepo, tmp_path: Path) -> None:
    repo = git_repo({"a.py": "main"})
    repo.git("worktree", "add", "--quiet", "-b", "feature", str(tmp_path / "tree"))
    repo.git("-C", str(tmp_path / "tree"), "commit", "--quiet", "--allow-empty", "-m", "x")
    mirror.add(home, str(tmp_path / "tree"))
    assert mirror.head(home, "tree") == repo.git("rev-parse", "feature") != repo.git("rev-parse", "main")


def test_a_detached_head(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    first = repo.git("rev-parse", "HEAD")
    repo.commit({"a.py": "two"})
    repo.git("checkout", "--quiet", "--detach", first)
    mirror.add(home, str(repo.path))
    assert mirror.head(home, "demo") == first


def test_a_shallow_clone(home: Home, git_repo: GitRepo, tmp_path: Path) -> None:
    repo = git_repo({"a.py": "one"})
    repo.commit({"a.py": "two"})
    repo.git("clone", "--quiet", "--depth=1", f"file://{repo.path}", str(tmp_path / "shallow"))
    mirror.add(home, str(tmp_path / "shallow"))
    assert _content(home, "shallow") == b"two"
    repo.commit({"a.py": "three"})
    repo.git("-C", str(tmp_path / "shallow"), "fetch", "--quiet", "--depth=1")
    repo.git("-C", str(tmp_path / "shallow"), "reset", "--quiet", "--hard", "FETCH_HEAD")
    mirror.refresh(home, "shallow")
    assert _content(home, "shallow") == b"three"


def test_a_url_and_a_branch(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "main"})
    repo.git("checkout", "--quiet", "-b", "dev/x")
    repo.commit({"a.py": "dev"})
    repo.git("checkout", "--quiet", "main")
    mirror.add(home, f"file://{repo.path}", name="dev", branch="dev/x")
    assert _content(home, "dev") == b"dev"
    assert mirror.registration(home, "dev").branch == "dev/x"


@pytest.mark.parametrize(
    "folder", ["with space", "-dash", "new\nline", os.fsdecode(b"caf\xe9"), 'q"uote', "UPPER.Case"]
)
def test_awkward_folder_names(home: Home, git_repo: GitRepo, folder: str) -> None:
    repo = git_repo({"a.py": "one"}, name=folder)
    entry = mirror.add(home, str(repo.path))
    assert _content(home, entry.name) == b"one"
    repo.commit({"a.py": "two"})
    mirror.refresh(home, entry.name)
    assert _content(home, entry.name) == b"two"


def test_a_relative_path(home: Home, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(git_repo({"a.py": "one"}).path)
    assert mirror.add(home, ".").name == "demo"


def test_submodules_are_not_fetched(home: Home, git_repo: GitRepo) -> None:
    repo, inner = git_repo({"a.py": "one"}), git_repo({"x": "x"}, name="inner")
    repo.git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(inner.path), "sub")
    repo.commit()
    mirror.add(home, str(repo.path))
    assert _content(home, path="sub/x") is None


# what cannot


def test_not_a_repository(home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    _refused(home, str(tmp_path / "folder"), SourceUnavailable, "not a git repository; run `git init`")
    _refused(home, str(tmp_path / "file"), SourceUnavailable, "not a git repository")
    _refused(home, str(tmp_path / "missing"), SourceUnavailable, "does not exist")


def test_no_commit(home: Home, git_repo: GitRepo) -> None:
    _refused(home, str(git_repo().path), SourceUnavailable, "no commit yet; commit something")


def test_a_folder_inside_a_repository(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"src/a.py": "x"})
    for inside in ("src", ".git", ".git/objects"):
        message = _refused(home, str(repo.path / inside), SourceUnavailable, "folder inside the repository")
        assert f"{repo.path};" in message
    bare = git_repo(name="bare", bare=True)
    _refused(home, str(bare.path / "objects"), SourceUnavailable, f"inside the repository {bare.path};")


@pytest.mark.parametrize(
    "branch", ["nope", "--upload-pack=touch x", "a:b", "*", "a b", "a\0b", "a\nb", "a..b", "-", "^main", "x" * 300]
)
def test_a_branch_that_does_not_exist(home: Home, git_repo: GitRepo, branch: str) -> None:
    _refused(home, str(git_repo({"a": "1"}).path), InvalidRevision, "branch", branch=branch)


@pytest.mark.parametrize(
    "source",
    ["", "-oProxyCommand=touch {out}", "--upload-pack=touch {out}", "ext::sh -c touch% {out}", "fd::17", "a\0b",
     "transport::address", "ftp://127.0.0.1/x", "javascript://x", "a@b::touch {out}", "~nobody-here/x", "x" * 5000,
     "ssh://-oProxyCommand=touch${{IFS}}{out}/x"],
)  # fmt: skip
def test_sources_that_are_not_places(home: Home, tmp_path: Path, source: str) -> None:
    out = tmp_path / "written"
    _refused(home, source.format(out=out), SourceUnavailable, ".")
    assert not out.exists()


def test_an_unreadable_path(home: Home, git_repo: GitRepo, tmp_path: Path) -> None:
    """As a user who may not read it: a root user may read anything, so then the check runs as `nobody`."""
    repo = git_repo({"a": "1"})
    locked = tmp_path / "locked"
    locked.mkdir()
    repo.path.rename(locked / "demo")
    locked.chmod(0)
    script = (
        "import os, sys; from pathlib import Path; from codeintel_core.home import Home;"
        "from codeintel_core.repository import mirror; os.geteuid() or os.setuid(65534)\n"
        "for source in sys.argv[1:]:\n"
        "    try: mirror.add(Home(Path('/nonexistent/home')), source)\n"
        "    except Exception as error: print(type(error).__name__, str(error).replace('\\n', ' '))"
    )
    sources = [str(locked / "demo"), str(locked)]
    done = subprocess.run([sys.executable, "-c", script, *sources], capture_output=True, text=True, check=True)
    locked.chmod(0o700)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(
        line.startswith("SourceUnavailable") and "cannot be read; check its permissions" in line for line in lines
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_repository_of_another_user(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a": "1"})
    for path in (repo.path, repo.path / ".git"):
        os.chown(path, 65534, 65534)
    _refused(home, str(repo.path), SourceUnavailable, "belongs to another user; chown it")


def test_a_home_that_cannot_be_written(git_repo: GitRepo, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageFailed, match="CODEINTEL_HOME"):
        mirror.add(Home(tmp_path / "file"), str(git_repo({"a": "1"}).path))


def test_a_bad_name(home: Home, git_repo: GitRepo) -> None:
    _refused(home, str(git_repo({"a": "1"}).path), InvalidName, "a-z", name="../x")


# the same name again


def test_adding_again_refreshes(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    entry = mirror.add(home, str(repo.path))
    repo.commit({"a.py": "two"})
    assert mirror.add(home, str(repo.path)) == entry
    assert _content(home) == b"two"


def test_the_same_name_for_another_source_or_branch_is_refused(home: Home, git_repo: GitRepo) -> None:
    repo, other = git_repo({"a.py": "one"}), git_repo({"a.py": "x"}, name="other")
    repo.git("branch", "dev")
    mirror.add(home, str(repo.path))
    with pytest.raises(InvalidRequest, match="--name"):
        mirror.add(home, str(other.path), name="demo")
    with pytest.raises(InvalidRequest, match="follows HEAD"):
        mirror.add(home, str(repo.path), branch="dev")
    assert _content(home) == b"one"


def test_an_interrupted_add_can_be_repeated(home: Home, git_repo: GitRepo) -> None:
    (home.repository("demo").root / "mirror.git").mkdir(parents=True)
    mirror.add(home, str(git_repo({"a.py": "one"}).path))
    assert _content(home) == b"one"


# the source changes under the mirror


def test_a_force_push_moves_the_mirror_and_keeps_pinned_commits(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    mirror.add(home, str(repo.path))
    git = GitRepository(home.repository("demo").mirror)
    old = mirror.head(home, "demo")
    git.git("update-ref", "refs/codeintel/generations/g1", old)
    repo.git("commit", "--quiet", "--amend", "-m", "rewritten")
    repo.git("branch", "topic")
    mirror.refresh(home, "demo")
    repo.git("branch", "-D", "topic")
    repo.git("branch", "topic/sub")  # a folder where a branch was
    new = mirror.refresh(home, "demo")
    assert new == repo.git("rev-parse", "HEAD") != old
    git.git("-c", "gc.pruneExpire=now", "gc", "--quiet")
    assert git.blob_at(old, "a.py") == b"one"


def test_a_vanished_source_is_a_warning(home: Home, git_repo: GitRepo, caplog: pytest.LogCaptureFixture) -> None:
    repo = git_repo({"a.py": "one"})
    mirror.add(home, str(repo.path))
    repo.path.rename(repo.path.with_name("moved"))
    with caplog.at_level(logging.WARNING):
        assert mirror.refresh(home, "demo") == mirror.head(home, "demo")
    assert "building from the mirror" in caplog.text
    assert _content(home) == b"one"


def test_a_source_that_became_empty_keeps_what_was_seen(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    mirror.add(home, str(repo.path))
    repo.git("checkout", "--quiet", "--orphan", "nothing")
    mirror.refresh(home, "demo")
    assert _content(home) == b"one"


def test_a_followed_branch_that_is_gone_is_named(home: Home, git_repo: GitRepo) -> None:
    repo = git_repo({"a.py": "one"})
    repo.git("branch", "dev")
    mirror.add(home, str(repo.path), branch="dev")
    repo.git("branch", "-D", "dev")
    with pytest.raises(InvalidRevision, match="no branch 'dev'"):
        mirror.refresh(home, "demo")
    assert _content(home) == b"one"


def test_unknown_repositories(home: Home) -> None:
    with pytest.raises(UnknownRepository, match="codeintel add"):
        mirror.registration(home, "demo")
    with pytest.raises(InvalidName):
        mirror.registration(home, "../demo")


# names and secrets


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("https://example.org/Team/My_Repo.git", "my_repo"),
        ("git@example.org:team/repo.git", "repo"),
        ("/srv/code/repo/.git", "repo"),
        ("/srv/Ünï code/", "n-code"),
        ("/", "repository"),
        ("C:\\code\\repo", "repo"),
    ],
)
def test_default_names(source: str, name: str) -> None:
    assert mirror.default_name(source) == name


@pytest.mark.parametrize("password", ["s3cret", "s3@cret", "s3/cret", "s3:cret@"])
def test_credentials_never_reach_a_message(
    home: Home, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, password: str
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    url = f"http://user:{password}@127.0.0.1:1/repo.git"
    message = _refused(home, url, SourceUnavailable, "cannot fetch")
    shown = message + caplog.text + without_users(f"fatal: unable to access '{url}/': refused")
    for part in ("s3", "cret", "user"):
        assert part not in shown
    assert without_users("https://example.org/a and b@c") == "https://example.org/a and b@c"


def test_a_registration_is_for_its_owner_only(home: Home, git_repo: GitRepo) -> None:
    """A URL may carry a token."""
    repo: Repo = git_repo({"a": "1"})
    mirror.add(home, str(repo.path))
    assert home.repository("demo").root.stat().st_mode & 0o077 == 0
