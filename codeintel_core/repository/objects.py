"""Reading a few files of a commit without starting git each time: `cat-file --batch` processes that stay open.

A process answers one thread at a time. One that failed, timed out or said something unexpected is killed, never given
to another thread, so an answer can only be the answer to its own question.
"""

from __future__ import annotations

import re
import select
import subprocess
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GitFailed
from codeintel_core.repository.git import batch_command, environment
from codeintel_core.stopping import stoppable

_HEADER = re.compile(rb"[0-9a-f]{40,64} ([a-z]+) (\d+)")
_NO_BLOB = (b" missing", b" submodule", b" ambiguous")
_READ_BYTES = 1 << 20
_MOST_IDLE = 32  # of all repositories together: each costs a few megabytes
_idle: list[_Batch] = []  # the last used at the end
_lock = threading.Lock()


class ObjectReader:
    """Files of commits of one bare repository; several threads may read at once. Close it to end its processes."""

    def __init__(self, path: Path, timeout_s: float = 60.0) -> None:
        self._path, self._timeout_s = path, timeout_s
        self._is_closed = False

    def files_at(self, sha: str, paths: Iterable[str]) -> dict[str, bytes]:
        """Contents of files of the resolved commit by path; what is not a file there is left out.

        Raises:
            GitFailed: git cannot be started, ended, or took longer than the limit.
            asyncio.CancelledError: nobody waits for the files any more.
        """
        deadline = Deadline.after(self._timeout_s)
        found: dict[str, bytes] = {}
        batch = self._take()
        try:
            with stoppable(batch.kill):
                for path in dict.fromkeys(paths):
                    if "\n" in path or "\0" in path:
                        continue
                    data = batch.blob(f"{sha}:{path}".encode("utf-8", "surrogateescape"), deadline)
                    if data is not None:
                        found[path] = data
        except BaseException:
            batch.end()
            raise
        self._give_back(batch)
        return found

    def close(self) -> None:
        """End the idle processes now and the others as soon as they have answered."""
        with _lock:
            self._is_closed = True
            mine = [batch for batch in _idle if batch.owner is self]
            _idle[:] = [batch for batch in _idle if batch.owner is not self]
        for batch in mine:
            batch.end()

    def _take(self) -> _Batch:
        with _lock:
            at = next((at for at in reversed(range(len(_idle))) if _idle[at].owner is self), None)
            batch = _idle.pop(at) if at is not None else None
        if batch is not None and batch.is_alive:
            return batch
        if batch is not None:
            batch.end()
        return _Batch(self, self._path)

    def _give_back(self, batch: _Batch) -> None:
        with _lock:
            if not self._is_closed:
                _idle.append(batch)
            ended = [batch] if self._is_closed else _idle[:-_MOST_IDLE]
            del _idle[:-_MOST_IDLE]
        for one in ended:
            one.end()


class _Batch:
    """One `git cat-file --batch`."""

    def __init__(self, owner: ObjectReader, path: Path) -> None:
        self.owner = owner
        try:
            self._process = subprocess.Popen(
                batch_command(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                env=environment(), bufsize=0,
            )  # fmt: skip
        except OSError:
            raise GitFailed("git is not installed, or the repository's folder is gone") from None
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def blob(self, name: bytes, deadline: Deadline) -> bytes | None:
        """Content of the object, None when there is none of that name or it is no blob."""
        try:
            self._stdin.write(name + b"\n")  # below the size of a pipe, and git reads before it answers
        except OSError:
            raise GitFailed("git cat-file ended") from None
        data = bytearray()
        while (end := data.find(b"\n")) < 0:
            self._read(data, deadline)
        header = _HEADER.fullmatch(data, 0, end)
        if header is None:
            if not data[:end].endswith(_NO_BLOB) or end != len(data) - 1:
                raise GitFailed("git cat-file answered something else")
            return None
        wanted = end + 1 + int(header[2]) + 1
        while len(data) < wanted:
            self._read(data, deadline)
        if len(data) != wanted or data[-1:] != b"\n":
            raise GitFailed("git cat-file answered something else")
        return bytes(data[end + 1 : -1]) if header[1] == b"blob" else None

    def kill(self) -> None:
        """End it from another thread: the one that reads finds the end of its output."""
        self._process.kill()

    def end(self) -> None:
        """Kill it and release its pipes."""
        self._process.kill()
        self._process.wait()
        with suppress(OSError):
            self._stdin.close()
        self._stdout.close()

    def _read(self, data: bytearray, deadline: Deadline) -> None:
        """Append what comes next."""
        if not self._poll.poll(deadline.remaining_s * 1000):
            raise GitFailed("git cat-file took too long")
        more = self._stdout.read(_READ_BYTES)
        if not more:
            raise GitFailed("git cat-file ended")
        data += more
