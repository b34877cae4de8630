"""Watched files: looked at now and then, and at once after a change of this process."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from codeintel_core import durable, watched
from codeintel_core.watched import Watched


def test_a_file_is_there_changed_and_gone(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    file = Watched(path)
    assert file.stamp() is None
    durable.replace(path, b"one")
    first = file.stamp()
    assert first is not None
    assert first[2] == len(b"one")
    durable.replace(path, b"two, longer")
    assert file.stamp() not in (None, first)
    path.unlink()
    watched.note_change()
    assert file.stamp() is None


def test_what_another_process_changed_is_seen_within_milliseconds(tmp_path: Path) -> None:
    file = Watched(tmp_path / "list")
    assert file.stamp() is None
    (tmp_path / "list").write_bytes(b"by another")  # nothing of this process is told
    end = time.monotonic() + 5  # a machine under load; it takes 5 ms
    while file.stamp() is None and time.monotonic() < end:
        time.sleep(0.001)  # short of it
    assert file.stamp() is not None


class Clock:
    """A clock that stands still, in place of the module `time` in `watched`."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        return self.now_s


def test_looks_are_spared_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(watched, "time", clock)  # 5 ms must not pass on a loaded machine
    (tmp_path / "list").write_bytes(b"one")
    files = [Watched(tmp_path / "list"), Watched(tmp_path / "list")]
    first = files[0].stamp()
    (tmp_path / "list").write_bytes(b"by another process")  # nothing of this one is told
    assert [file.stamp() for file in files] == [first, first]
    clock.now_s += 0.006
    second = files[1].stamp()
    assert second != first
    assert files[0].stamp() == second


def test_who_has_seen_a_change_never_meets_an_older_look_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As what is masked by a list, and the key that it is kept under, ask through objects of their own."""
    clock = Clock()
    monkeypatch.setattr(watched, "time", clock)  # the moments of the looks are the test
    path = tmp_path / "purged.json"
    masks, key = Watched(path), Watched(path)
    assert masks.stamp() is None
    path.write_bytes(b"by another process")
    clock.now_s += 0.004
    assert key.stamp() is None, "it is not newer than what the masks know"
    clock.now_s += 0.002
    seen = key.stamp()
    assert seen is not None
    assert masks.stamp() == seen


def test_a_file_that_cannot_be_looked_at_says_so_every_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    file = Watched(tmp_path / "file" / "below")
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            file.stamp()
