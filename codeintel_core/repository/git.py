"""git, called safely: argv lists only, no user or system configuration, no hooks, limits on time.

Revisions are resolved to a commit first (`resolve`), so nothing a caller types ever becomes an option.
"""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from codeintel_core.errors import GitFailed, InvalidRevision
from codeintel_core.secrets import redact

CONFIG = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false",
    "-c", "gc.auto=0", "-c", "maintenance.auto=false",
    "-c", "core.bigFileThreshold=16m",  # what is larger is no text: no patch of it, and it is streamed
)  # fmt: skip
_MODE_SYMLINK = "120000"
_MODE_SUBMODULE = "160000"
_OBJECT_ID = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MAX_PATH_CHARS = 4096
_LATEST_S = 253_402_300_799  # the end of the year 9999, which is where datetime ends


def environment() -> dict[str, str]:
    """The environment of every git process: no configuration of the user or machine, no prompts."""
    keep = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    return keep | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "file:https:http:ssh:git",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "LC_ALL": "C",
    }


def run_git(directory: Path, arguments: Sequence[str], *, timeout_s: float, stdin: bytes | None = None) -> bytes:
    """Run git in `directory` and return its output.

    Raises:
        GitFailed: it is not installed, exited with an error (its fatal line is in the message) or timed out.
    """
    try:
        done = subprocess.run(
            ["git", *CONFIG, "-C", str(directory), *arguments],
            input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True, env=environment(), timeout=timeout_s, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise GitFailed("git is not installed, or the repository's folder is gone") from None
    except subprocess.TimeoutExpired:
        raise GitFailed(f"git {arguments[0]} took longer than {timeout_s:g} s (CODEINTEL_GIT_TIMEOUT_S)") from None
    if done.returncode != 0:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit status {done.returncode}"]
        why = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])  # hints may follow
        raise GitFailed(f"git {arguments[0]}: {redact(why)[0][:300]}")
    return done.stdout


def batch_command(directory: Path) -> list[str]:
    """The command that answers object names on its input with their contents."""
    return ["git", *CONFIG, "-C", str(directory), "cat-file", "--batch"]


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """A file of a commit's tree."""

    path: str
    blob: str
    size_bytes: int
    skip_reason: str  # '' for ordinary files; symlink, submodule or path_encoding


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit: its id, time and subject."""

    sha: str
    committed_at: datetime
    subject: str


class GitRepository:
    """Reads a bare repository: trees of named commits and blobs in batches; never a work tree."""

    def __init__(self, path: Path, timeout_s: float = 600.0) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def git(self, *arguments: str) -> bytes:
        """Output of a git command in this repository; raises `GitFailed`."""
        return run_git(self.path, arguments, timeout_s=self._timeout_s)

    def resolve(self, revision: str) -> str:
        """The commit id that `revision` names; raises `InvalidRevision`."""
        if not revision or len(revision) > 300 or not revision.isprintable() or ".." in revision:
            raise InvalidRevision("a revision is a branch, a tag or a commit id of 1..300 printable characters")
        try:
            out = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
        except GitFailed:
            raise InvalidRevision(f"revision '{revision}' does not name a commit; try a branch, tag or id") from None
        commit = out.decode().strip()
        if not _OBJECT_ID.fullmatch(commit):  # `^main` is answered with `^<id>`
            raise InvalidRevision(f"revision '{revision}' does not name a commit; try a branch, tag or id")
        return commit

    def commit(self, sha: str) -> Commit:
        """Facts of a resolved commit."""
        out = self.git("show", "-s", "--no-show-signature", "--format=%H%x00%ct%x00%s", "--end-of-options", sha)
        commit, seconds, subject = out.decode("utf-8", "replace").strip().split("\0", 2)
        return Commit(commit, datetime.fromtimestamp(min(int(seconds), _LATEST_S), UTC), subject)

    def missing(self, old: str, new: str) -> tuple[int, datetime | None]:
        """How many commits of `new` are not in `old` (both resolved), and when the first of them was committed."""
        out = self.git("rev-list", "--timestamp", "--end-of-options", f"{old}..{new}")
        seconds = [int(line.split(b" ", 1)[0]) for line in out.splitlines()]
        return len(seconds), datetime.fromtimestamp(min(*seconds, _LATEST_S), UTC) if seconds else None

    def tree(self, sha: str) -> list[TreeEntry]:
        """All files of the commit, sorted by path bytes as git lists them."""
        out = self.git("ls-tree", "-r", "-z", "--long", "--full-tree", "--end-of-options", sha)
        return [_entry(record) for record in out.split(b"\0") if record]

    def blob_at(self, sha: str, path: str) -> bytes | None:
        """Content of `path` in the resolved commit, or None when it is not a file there."""
        parts = path.split("/")
        if len(path) > _MAX_PATH_CHARS or "\0" in path or any(part in ("", ".", "..") for part in parts):
            return None
        try:
            wanted = path.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return None
        listed = self.git("--literal-pathspecs", "ls-tree", "-z", "--full-tree", "--end-of-options", sha, "--", path)
        if not listed:
            return None
        meta, name = listed.rstrip(b"\0").split(b"\t", 1)
        mode, kind, blob = meta.decode().split()
        if kind != "blob" or mode == _MODE_SYMLINK or name != wanted:
            return None
        return self.git("cat-file", "blob", blob)

    def blobs(self, oids: Iterable[str]) -> Generator[tuple[str, bytes]]:
        """Contents of many blobs through one `cat-file --batch` process, in the order asked.

        Raises:
            GitFailed: an object is missing or the process died.
        """
        process = subprocess.Popen(
            [*batch_command(self.path), "--buffer"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(),
        )  # fmt: skip
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None

        asked = answered = 0

        def feed() -> None:
            nonlocal asked
            with suppress(BrokenPipeError, ValueError), stdin:  # a broken pipe: the reader stopped early
                for oid in oids:
                    asked += 1
                    stdin.write(oid.encode() + b"\n")

        feeder = threading.Thread(target=feed, daemon=True, name="git-blobs")
        feeder.start()
        try:
            while header := stdout.readline():
                fields = header.decode().split()
                if len(fields) != 3:
                    raise GitFailed(f"git object {fields[0] if fields else '?'} is missing from the mirror")
                size = int(fields[2])
                data = stdout.read(size)
                if len(data) != size or stdout.read(1) != b"\n":
                    raise GitFailed("git cat-file stopped in the middle of an object")
                answered += 1
                yield fields[0], data
            feeder.join()
            if answered != asked:
                raise GitFailed(f"git cat-file ended after {answered} of {asked} objects")
        finally:
            process.kill()
            process.wait()
            feeder.join(timeout=5)
            stdout.close()


def _entry(record: bytes) -> TreeEntry:
    meta, raw_path = record.split(b"\t", 1)
    mode, _kind, blob, size = meta.decode().split()
    try:
        path, reason = raw_path.decode("utf-8"), ""
    except UnicodeDecodeError:
        path, reason = raw_path.decode("utf-8", "backslashreplace"), "path_encoding"
    if mode == _MODE_SYMLINK:
        reason = "symlink"
    elif mode == _MODE_SUBMODULE:
        reason = "submodule"
    return TreeEntry(path, blob, int(size) if size != "-" else 0, reason)
