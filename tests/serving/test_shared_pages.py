"""Memory that workers share: what was kept is found by all, nothing else is ever taken for it."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from codeintel_serving import shared_pages
from codeintel_serving.shared_pages import MOST_BYTES, SharedPages, mapped, memory
from codeintel_serving.shown import Shown

ANOTHER = """
import sys
from codeintel_serving.shared_pages import SharedPages
pages = SharedPages(int(sys.argv[1]))
assert pages.get(b"key") == b"of the first"
pages.keep(b"another key", b"of the second")
"""


@pytest.fixture
def descriptor() -> Iterator[int]:
    found = memory(16)
    assert found >= 0
    yield found
    os.close(found)


def test_a_page_is_found_by_another_process(descriptor: int) -> None:
    mine = SharedPages(descriptor)
    assert mine.get(b"key") is None
    mine.keep(b"key", b"of the first")
    subprocess.run([sys.executable, "-c", ANOTHER, str(descriptor)], pass_fds=[descriptor], check=True)
    assert mine.get(b"another key") == b"of the second"
    assert mine.get(b"key") == b"of the first"


def test_the_last_page_has_the_slot(descriptor: int) -> None:
    pages = SharedPages(descriptor)
    keys = [str(number).encode() for number in range(200)]
    for key in keys:
        pages.keep(key, key * 3)
    found = {key: pages.get(key) for key in keys}
    assert {key * 3 for key, page in found.items() if page} == {page for page in found.values() if page}
    assert 1 < sum(page is not None for page in found.values()) <= 16
    assert found[keys[-1]] == keys[-1] * 3


def test_a_page_that_is_too_large_is_not_kept(descriptor: int) -> None:
    pages = SharedPages(descriptor)
    pages.keep(b"largest", b"x" * MOST_BYTES)
    assert pages.get(b"largest") == b"x" * MOST_BYTES
    pages.keep(b"larger", b"x" * (MOST_BYTES + 1))
    assert pages.get(b"larger") is None


def test_half_a_page_is_none(descriptor: int) -> None:
    """As a reader finds it while another process writes, or after one died in the middle."""
    pages, raw = SharedPages(descriptor), mmap.mmap(descriptor, 0)
    pages.keep(b"key", b"0123456789")
    at = raw.find(b"0123456789")
    raw[at + 4 : at + 10] = b"abcdef"
    assert pages.get(b"key") is None
    raw[at : at + 10] = b"0123456789"
    assert pages.get(b"key") == b"0123456789"
    raw[at - 8 : at - 4] = b"\xff" * 4  # the length
    assert pages.get(b"key") is None


def test_nothing_is_left_after_clear(descriptor: int) -> None:
    pages, raw = SharedPages(descriptor), mmap.mmap(descriptor, 0)
    for number in range(40):
        pages.keep(str(number).encode(), b"purged")
    SharedPages(descriptor).clear()
    assert not any(pages.get(str(number).encode()) for number in range(40))
    assert raw.find(b"purged") == -1
    assert not raw[:].strip(b"\0")


def test_two_that_write_into_one_slot_leave_a_whole_page_or_none() -> None:
    descriptor = memory(1)
    first, second = SharedPages(descriptor), SharedPages(descriptor)
    texts = {b"a": b"a" * 9_000, b"b": b"b" * 12_000}
    done = threading.Event()

    def write(pages: SharedPages, key: bytes) -> None:
        while not done.is_set():
            pages.keep(key, texts[key])

    writers = [threading.Thread(target=write, args=one) for one in ((first, b"a"), (second, b"b"))]
    for writer in writers:
        writer.start()
    found = {key: {first.get(key) for _ in range(2_000)} for key in texts}
    done.set()
    for writer in writers:
        writer.join()
    assert all(pages <= {None, texts[key]} for key, pages in found.items())
    os.close(descriptor)


def test_who_starts_finds_nothing(descriptor: int) -> None:
    """What was purged while no worker looked, or was kept by the program before an upgrade."""
    before = SharedPages(descriptor)
    before.keep(b"key", b"old")
    started = mapped(os.dup(descriptor))
    assert started is not None
    assert started.get(b"key") is None
    assert before.get(b"key") is None
    assert mapped(-1) is None


def test_without_such_memory_workers_serve_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> int:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    assert memory(0) == -1
    assert not caplog.records
    for name in ("memfd_create", "posix_fallocate"):
        with monkeypatch.context() as patch:
            patch.setattr(shared_pages.os, name, refused)  # a sandbox that forbids it, a machine that has none left
            assert memory(4) == -1
    with monkeypatch.context() as patch:
        patch.setattr(shared_pages.mmap, "mmap", refused)  # no room in the address space
        assert mapped(memory(4)) is None
    assert caplog.text.count("do not share") == 3


def test_a_page_survives_the_way() -> None:
    shown = Shown(3, ("dense: pending",), ("é",), {"results": b"[1]", "budget": b"{}"}, {"budget": b'"caf\xc3\xa9"'})
    assert Shown.unpack(shown.pack()) == shown
    nothing = Shown(0, (), (), {}, {})
    assert Shown.unpack(nothing.pack()) == nothing
