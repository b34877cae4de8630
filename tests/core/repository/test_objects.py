"""Files of commits come from processes that stay open, and one that misbehaves never answers again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from codeintel_core.errors import GitFailed
from codeintel_core.repository import objects
from codeintel_core.repository.objects import ObjectReader
from tests.conftest import GitRepo

FILES: dict[str, str | bytes | None] = {
    "a.py": "x = 1\n", "sub/with space.py": "", "ü.txt": "é", "crlf": b"a\r\nb\0c", "trap missing": "y",
    "large": b"0123456789\n" * 50_000,
}  # fmt: skip
CONTENTS = {name: text.encode() if isinstance(text, str) else text for name, text in FILES.items()}


@pytest.fixture
def made(git_repo: GitRepo) -> GitRepo:
    return git_repo(FILES)


@pytest.fixture
def reader(made: GitRepo) -> Iterator[ObjectReader]:
    found = ObjectReader(made.path)
    yield found
    found.close()


def idle_of(reader: ObjectReader) -> list[int]:
    """Process ids that wait for the reader's next question."""
    return [batch._process.pid for batch in objects._idle if batch.owner is reader]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_files_of_commits(made: GitRepo, reader: ObjectReader) -> None:
    old = made.git("rev-parse", "HEAD")
    (made.path / "link").symlink_to("a.py")
    sha = made.commit()
    names = ["ü.txt", "nowhere", "a.py", "sub", "crlf", "a\nb", "trap missing", "sub/with space.py", "large", "a.py"]
    assert reader.files_at(sha, names) == CONTENTS
    assert reader.files_at(sha, []) == {}
    assert reader.files_at(old, ["link", "a.py"]) == {"a.py": b"x = 1\n"}
    assert reader.files_at("0" * 40, ["a.py"]) == {}
    assert len(idle_of(reader)) == 1


def test_threads_do_not_get_each_other_s_answers(made: GitRepo, reader: ObjectReader) -> None:
    sha, names = made.git("rev-parse", "HEAD"), list(CONTENTS)

    def ask(number: int) -> bool:
        asked = names[number % 3 :]
        return reader.files_at(sha, asked) == {name: CONTENTS[name] for name in asked}

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(ask, range(60)))
    assert 1 <= len(idle_of(reader)) <= 6


def test_a_process_that_died_is_replaced(made: GitRepo, reader: ObjectReader) -> None:
    sha = made.git("rev-parse", "HEAD")
    reader.files_at(sha, ["a.py"])
    (first,) = idle_of(reader)
    os.kill(first, signal.SIGKILL)
    os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
    assert reader.files_at(sha, ["a.py"]) == {"a.py": b"x = 1\n"}
    assert idle_of(reader) != [first]


def test_one_that_hangs_is_ended(made: GitRepo) -> None:
    sha = made.git("rev-parse", "HEAD")
    reader = ObjectReader(made.path, timeout_s=60)
    reader.files_at(sha, ["a.py"])
    (first,) = idle_of(reader)
    os.kill(first, signal.SIGSTOP)
    reader._timeout_s = 0.01
    with pytest.raises(GitFailed, match="took too long"):
        reader.files_at(sha, ["a.py"])
    assert idle_of(reader) == []
    assert not is_running(first)


def test_closing_ends_what_waits_and_what_comes_back(made: GitRepo, reader: ObjectReader) -> None:
    sha = made.git("rev-parse", "HEAD")
    reader.files_at(sha, ["a.py"])
    (first,) = idle_of(reader)
    reader.close()
    assert not is_running(first)
    assert reader.files_at(sha, ["a.py"]) == {"a.py": b"x = 1\n"}
    assert idle_of(reader) == []


def test_idle_processes_are_bounded(made: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_MOST_IDLE", 2)
    sha = made.git("rev-parse", "HEAD")
    readers = [ObjectReader(made.path) for _ in range(3)]
    for reader in readers:
        reader.files_at(sha, ["a.py"])
    assert [len(idle_of(reader)) for reader in readers] == [0, 1, 1]
    for reader in readers:
        reader.close()


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(GitFailed):
        ObjectReader(tmp_path / "gone").files_at("0" * 40, ["a.py"])
