"""Pages: where the lines of a run lie while it runs, in memory that outlives the process.

A process has one file of preallocated pages, mapped and shared: to append a line is to copy it, without a system call,
and what was copied is the kernel's, even when the process is killed by the next instruction. A page serves one run at a
time; its first line is the name of the file that the run will have, and a page without lines is free.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from codeintel_core.locks import locked

PAGE_BYTES = 64 << 10
MOST_PAGES = 64
_NAME = re.compile(rb"date=\d{4}-\d\d-\d\d/[\w-]+\.jsonl")
_NAME_BYTES = 128
_PREALLOCATED = frozenset({"ext2", "ext3", "ext4", "xfs", "tmpfs"})
"""File systems where a preallocated page can always be written. Where a write copies (btrfs), a full disk would be a
SIGBUS, which nobody survives."""


class Page:
    """One page, of one run; for one thread at a time."""

    __slots__ = ("_end", "_pages", "_start", "_used", "name")

    def __init__(self, pages: Pages, start: int) -> None:
        self._pages, self._start, self._used, self._end = pages, start, start, start + PAGE_BYTES
        self.name = ""

    def append(self, lines: bytes) -> bool:
        """Copy whole lines; False when they do not fit, or the pages are closed, as in the child of a fork."""
        used, pages = self._used, self._pages
        end = used + len(lines)
        if end > self._end or not pages.is_open:
            return False
        pages.map[used:end] = lines
        self._used = end
        return True

    @property
    def path(self) -> str:
        """The file of the run."""
        return f"{self._pages.folder}/{self.name}"

    def content(self) -> bytes:
        """The lines of the run."""
        return self._pages.map[self._start + len(self.name) + 1 : self._used] if self._pages.is_open else b""

    def give_back(self) -> None:
        """Empty the page for the next run."""
        if self._pages.is_open:
            self._pages.map[self._start : self._used] = bytes(self._used - self._start)
            self._used, self.name = self._start, ""
            self._pages.free.append(self)


class Pages:
    """The pages of this process for the ledger `folder`, in `<folder>/live/`; locked for as long as it lives."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where pages cannot be had, or could fail later than now."""
        self.folder, self.is_open = folder, True
        self._path = folder / "live" / f"{os.getpid()}-{os.urandom(4).hex()}.pages"
        with locked(_lock(folder)):  # against `abandoned`, which must not find it before it has its own lock
            if _file_system(folder) not in _PREALLOCATED:
                raise OSError(f"no pages on this file system: {folder}")
            self._file = self._path.open("x+b", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            self._file.truncate(MOST_PAGES * PAGE_BYTES)
        self.map = mmap.mmap(self._file.fileno(), MOST_PAGES * PAGE_BYTES)
        self.free: list[Page] = []
        self._made = 0
        self._lock = threading.Lock()

    def take(self, name: str) -> Page | None:
        """A free page for the run whose file is `name`; None when there is none and no room for another."""
        with self._lock:
            page = self.free.pop() if self.free else self._grown()
        if page is not None:
            page.name = name
            page.append(f"{name}\n".encode())
        return page

    def _grown(self) -> Page | None:
        if self._made == MOST_PAGES or not self.is_open:
            return None
        start = self._made * PAGE_BYTES
        try:
            os.posix_fallocate(self._file.fileno(), start, PAGE_BYTES)  # a full disk says so here, and nowhere else
        except OSError:
            return None
        self._made += 1
        return Page(self, start)

    def leave(self) -> None:
        """In the child of a fork: the pages stay the parent's."""
        self.is_open = False
        self._file.close()

    def close(self, *, only_idle: bool = False) -> bool:
        """Give the pages up, and their file unless it holds lines that are nowhere else; False: `only_idle`, and they
        are not."""
        with self._lock:
            is_idle = len(self.free) == self._made
            if only_idle and not is_idle:
                return False
            self.is_open = False
            self.free.clear()
        if is_idle:
            self._path.unlink(missing_ok=True)
        self._file.close()
        return True


def held(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(name of the file, whole lines) of every run in a page, of all processes, those that died included."""
    for path in sorted((folder / "live").glob("*.pages")):
        with suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
            yield from _read(file)


def abandoned(folder: Path) -> Iterator[Iterator[tuple[str, bytes]]]:
    """What `held` gives, of each process that died; its file is removed when the caller comes back for the next."""
    if not (folder / "live").is_dir():
        return
    with locked(_lock(folder)):
        for path in sorted((folder / "live").glob("*.pages")):
            with suppress(FileNotFoundError), path.open("r+b", buffering=0) as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:  # its process lives
                    continue
                yield _read(file)
                path.unlink()


def _read(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    for start in range(0, MOST_PAGES * PAGE_BYTES, PAGE_BYTES):
        if not _NAME.match(os.pread(file.fileno(), _NAME_BYTES, start)):
            continue
        written, _, _ = os.pread(file.fileno(), PAGE_BYTES, start).partition(b"\0")
        name, _, lines = written.partition(b"\n")
        if _NAME.fullmatch(name):  # else it was given back between the two looks
            yield name.decode(), lines[: lines.rfind(b"\n") + 1]


def _lock(folder: Path) -> Path:
    return folder / "live" / "lock"


def _file_system(folder: Path) -> str:
    """Type of the file system that a folder is on, '' where the system does not tell."""
    at, found = folder.resolve(), (0, "")
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, mounted, kind, *_ = line.split(" ")
            point = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), mounted))
            if at.is_relative_to(point):
                found = max(found, (len(point.parts), kind), key=lambda one: one[0])
    return found[1]
