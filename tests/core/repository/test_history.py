"""History, blame and differences of a real repository: exact facts, and no caller's text becomes an option."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, GitFailed
from codeintel_core.repository import history
from codeintel_core.repository.bounded import bounded_git
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.history import LogFilter
from codeintel_core.stopping import part
from tests.conftest import GitRepo, Repo


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Four commits on four days: a file, its second line changed by Grace, renamed, a binary file."""
    repo = Repo(tmp_path_factory.mktemp("sources") / "demo")
    for day, (files, author, message) in enumerate(
        [
            ({"a.py": "one\ntwo\nthree\n", "b/c.py": "x\n"}, "Ada", "first\n\nwith a body\nof two lines"),
            ({"a.py": "one\nTWO\nthree\n"}, "Grace", "second: two is TWO"),
            ({"a.py": None, "n\tew.py": "one\nTWO\nthree\n"}, "Ada", "third: renamed"),
            ({"bin": b"\0\1", "b/c.py": "x\ny\n"}, "Ada", "fourth"),
        ],
        start=1,
    ):
        with pytest.MonkeyPatch.context() as patch:
            for role in ("AUTHOR", "COMMITTER"):
                patch.setenv(f"GIT_{role}_DATE", f"2026-01-0{day}T12:00:00Z")
            patch.setenv("GIT_AUTHOR_NAME", author)
            repo.commit(files, message)
    return repo


def soon() -> Deadline:
    return Deadline.after(60)


def subjects(repo: Repo, wanted: LogFilter, limit: int = 10) -> list[str]:
    git = GitRepository(repo.path)
    return [c.subject for c in history.log(git, git.resolve("main"), wanted, limit=limit, deadline=soon())]


def test_log_gives_every_fact(source: Repo) -> None:
    git = GitRepository(source.path)
    oldest = history.log(git, git.resolve("main"), LogFilter(), limit=10, deadline=soon())[-1]
    assert (oldest.author, oldest.subject, oldest.body) == ("Ada", "first", "with a body\nof two lines")
    assert datetime.fromisoformat(oldest.authored_at) == datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (LogFilter(), ["fourth", "third: renamed", "second: two is TWO", "first"]),
        (LogFilter(path="n\tew.py", is_file=True), ["third: renamed", "second: two is TWO", "first"]),
        (LogFilter(path="b"), ["fourth", "first"]),
        (LogFilter(path="*"), []),
        (LogFilter(path="b/c.py", is_file=True, lines=(2, 2)), ["fourth"]),
        (LogFilter(text="TWO"), ["third: renamed", "second: two is TWO"]),
        (LogFilter(text="T.O"), []),
        (LogFilter(author="grace"), ["second: two is TWO"]),
        (LogFilter(author="gr.ce"), []),
        (LogFilter(since=datetime(2026, 1, 3, tzinfo=UTC)), ["fourth", "third: renamed"]),
        (LogFilter(until=datetime(2026, 1, 2, tzinfo=UTC)), ["first"]),
    ],
)
def test_filters(source: Repo, wanted: LogFilter, expected: list[str]) -> None:
    found = subjects(source, wanted)
    if wanted.text:  # a rename moves the text: git counts it as deleted and added when it does not see the rename
        found = [subject for subject in found if subject != "third: renamed"]
        expected = [subject for subject in expected if subject != "third: renamed"]
    assert found == expected


@pytest.mark.parametrize("value", ["--output=F", "-O/etc/passwd", "$(touch F)", "'; touch F", "--no-index"])
def test_texts_of_callers_are_values_and_never_options(source: Repo, tmp_path: Path, value: str) -> None:
    before = sorted(source.path.rglob("*"))
    for wanted in (
        LogFilter(text=value),
        LogFilter(author=value),
        LogFilter(path=value),
        LogFilter(path=value, is_file=True),
    ):
        assert subjects(source, wanted) == []
    git = GitRepository(source.path)
    with pytest.raises(GitFailed):
        history.blame(git, git.resolve("main"), value, (1, 1), soon())
    assert sorted(source.path.rglob("*")) == before


def test_blame_follows_renames_and_joins_lines(source: Repo) -> None:
    git = GitRepository(source.path)
    found = history.blame(git, git.resolve("main"), "n\tew.py", (1, 3), soon())
    assert [(r.start_line, r.end_line, r.author, r.subject) for r in found] == [
        (1, 1, "Ada", "first"),
        (2, 2, "Grace", "second: two is TWO"),
        (3, 3, "Ada", "first"),
    ]
    assert datetime.fromtimestamp(found[1].authored_at, UTC) == datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_changes_and_patches(source: Repo) -> None:
    git = GitRepository(source.path)
    old, new = git.resolve("main~2"), git.resolve("main")
    found = history.changes(git, old, new, soon())
    assert [(f.status, f.old_path, f.path, f.additions, f.deletions) for f in found] == [
        ("modified", "b/c.py", "b/c.py", 1, 0),
        ("added", "bin", "bin", None, None),
        ("renamed", "a.py", "n\tew.py", 0, 0),
    ]
    text, is_cut = history.patch(git, old, new, ["b/c.py"], soon())
    assert (text.splitlines()[-3:], is_cut) == (["@@ -1 +1,2 @@", " x", "+y"], False)
    first = git.resolve("main~3")
    assert [f.path for f in history.changes(git, "", first, soon())] == ["a.py", "b/c.py"]
    assert "+three" in history.patch(git, "", first, ["a.py"], soon())[0]


def test_a_patch_is_cut_at_a_line(git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = git_repo({"a": "line\n" * 1_000})
    monkeypatch.setattr(history, "PATCH_BYTES", 1_001)
    git = GitRepository(repo.path)
    text, is_cut = history.patch(git, "", git.resolve("main"), ["a"], soon())
    assert is_cut
    assert text.splitlines()[-1] == "+line"


def test_configuration_of_the_repository_runs_nothing(git_repo: GitRepo, tmp_path: Path) -> None:
    source = git_repo({".gitattributes": "*.py diff=evil\n", "a2.py": "1\n"})
    source.git("config", "diff.evil.command", f"touch {tmp_path}/ran")
    source.git("config", "diff.evil.textconv", f"touch {tmp_path}/ran")
    source.commit({"a2.py": "2\n"})
    git = GitRepository(source.path)
    assert "+2" in history.patch(git, "", git.resolve("main"), ["a2.py"], soon())[0]
    assert not (tmp_path / "ran").exists()


def test_bounded_git_stops(source: Repo) -> None:
    cut = bounded_git(source.path, ["log", "-p"], deadline=soon(), max_bytes=10)
    assert (len(cut.data), cut.is_cut) == (10, True)
    with pytest.raises(DeadlineExceeded):
        bounded_git(source.path, ["log"], deadline=Deadline.after(-1), max_bytes=10)
    work = part()
    threading.Timer(0.1, work.give_up).start()
    wait = ["-c", "alias.wait=!sleep 60", "wait"]
    with pytest.raises(asyncio.CancelledError, match="cancelled"):
        work.context().run(partial(bounded_git, source.path, wait, deadline=Deadline.after(60), max_bytes=10))
    with pytest.raises(GitFailed, match="bad revision"):
        bounded_git(source.path, ["log", "nope", "--"], deadline=soon(), max_bytes=10)
