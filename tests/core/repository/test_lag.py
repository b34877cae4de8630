"""Lag: commits and minutes behind, from the mirror and from heads that were seen; asking for a head fetches nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from codeintel_core.errors import SourceUnavailable
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.lag import Lag, lag, note_head
from tests.conftest import GitRepo, Repo


@pytest.fixture
def source(home: Home, git_repo: GitRepo) -> Repo:
    repo = git_repo({"a.py": "x = 1\n"})
    mirror.add(home, str(repo.path), name="demo")
    return repo


def _ago(minutes: int) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


def test_commits_of_the_mirror(home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source.git("rev-parse", "HEAD")
    assert lag(home, "demo", first) == Lag(0, 0.0)
    for minutes in (90, 30):
        monkeypatch.setenv("GIT_COMMITTER_DATE", _ago(minutes))
        second = source.commit({"a.py": f"x = {minutes}\n"})
    assert lag(home, "demo", first) == Lag(0, 0.0)  # not fetched, nobody saw it
    mirror.refresh(home, "demo")
    behind = lag(home, "demo", first)
    assert behind.commits == 2
    assert behind.minutes == pytest.approx(90, abs=1)
    assert behind.is_behind
    assert lag(home, "demo", second) == Lag(0, 0.0)
    assert lag(home, "demo", "0" * 40) == Lag(None, None)


def test_what_serves_the_head_starts_no_git(home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch) -> None:
    first = source.git("rev-parse", "HEAD")
    with monkeypatch.context() as patch:
        patch.setattr(GitRepository, "git", lambda *_: pytest.fail("git was started"))
        assert lag(home, "demo", first) == Lag(0, 0.0)
    source.commit({"a.py": "x = 2\n"})
    mirror.refresh(home, "demo")
    GitRepository(home.repository("demo").mirror).git("pack-refs", "--all")
    assert not mirror.is_at(home, "demo", first)
    assert lag(home, "demo", first).commits == 1


def test_a_head_that_was_seen_but_not_fetched(home: Home, source: Repo) -> None:
    first = source.git("rev-parse", "HEAD")
    new = source.commit({"a.py": "x = 2\n"})
    note_head(home, "demo", new)
    seen = home.repository("demo").seen_head
    seen.write_text(json.dumps({"commit": new, "since": _ago(20)}))
    note_head(home, "demo", new)  # seen again: it is not younger
    behind = lag(home, "demo", first)
    assert behind.commits is None
    assert behind.minutes == pytest.approx(20, abs=1)
    mirror.refresh(home, "demo")
    assert lag(home, "demo", first).commits == 1
    assert lag(home, "demo", new) == Lag(0, 0.0)


def test_the_head_of_a_source_is_asked_without_a_fetch(home: Home, source: Repo, tmp_path: Path) -> None:
    url = f"file://{source.path}"
    mirror.add(home, url, name="by-url")
    mirror.add(home, url, name="branch", branch="main")
    new = source.commit({"a.py": "x = 2\n"})
    for name in ("demo", "by-url", "branch"):
        assert mirror.source_head(home, name, timeout_s=20) == new
        assert mirror.head(home, name) != new
    source.path.rename(tmp_path / "gone")
    for name in ("demo", "by-url"):
        with pytest.raises(SourceUnavailable):
            mirror.source_head(home, name, timeout_s=20)


def test_a_group_is_kept_and_can_be_changed(home: Home, source: Repo) -> None:
    assert mirror.registration(home, "demo").group == ""
    mirror.add(home, str(source.path), name="demo", group="backend")
    assert mirror.registration(home, "demo").group == "backend"
    mirror.add(home, str(source.path), name="demo")
    assert mirror.registration(home, "demo").group == "backend"
