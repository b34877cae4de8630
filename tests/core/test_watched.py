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


def test_looks_are_spared_while_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    stat = watched.os.stat
    now = [100.0]
    monkeypatch.setattr(watched.os, "stat", lambda path: looks.append(path) or stat(path))  # counted, else real
    monkeypatch.setattr(watched.time, "monotonic", lambda: now[0])  # a clock that stands still
    files = [Watched(tmp_path), Watched(tmp_path)]
    for _ in range(50):
        assert {file.stamp() for file in files} == {files[0].stamp()}
    assert len(looks) == 2
    now[0] += 0.006
    files[0].stamp()
    assert len(looks) == 3


def test_a_file_that_cannot_be_looked_at_says_so_every_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    file = Watched(tmp_path / "file" / "below")
    for _ in range(2):
        with pytest.raises(NotADirectoryError):
            file.stamp()
