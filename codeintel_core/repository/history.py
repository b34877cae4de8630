"""History of a repository: commits, blame and differences between commits, read from its mirror.

Every commit is a resolved id and every path is given literally after `--`, so nothing a caller types becomes an
option, a pattern or a range; external diffs and text conversions are off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GitFailed
from codeintel_core.repository import pickaxe
from codeintel_core.repository.bounded import bounded_git
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.masks import Masks

_LIST_BYTES = 20_000_000
PATCH_BYTES = 400_000
"""Most bytes of one patch."""
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-color")
_FORMAT = "%H%n%an%n%ae%n%aI%n%cI%n%s%n%b"
_MOST_CANDIDATES = 20_000
_BLAMED = re.compile(r"(?P<commit>[0-9a-f]{40,64}) (?P<before>\d+) (?P<line>\d+)(?: \d+)?")


@dataclass(frozen=True, slots=True)
class LoggedCommit:
    """A commit in a log; times are ISO 8601 as git wrote them."""

    sha: str
    author: str
    authored_at: str
    committed_at: str
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which commits are wanted; everything that is left out filters nothing.

    Attributes:
        path: a file (its renames are followed) or a folder.
        is_file: which of the two.
        lines: of the file at the commit where the log starts, from 1, inclusive: commits that changed them.
        text: commits that added or removed a line with this text, as the line is shown (see `pickaxe`).
        is_shown: whether the content of (path, blob) may be looked at for that; all of it by default.
        since, until: commit times.
        author: part of the author's name or address as they are shown, in any case.
    """

    path: str = ""
    is_file: bool = False
    lines: tuple[int, int] | None = None
    text: str = ""
    is_shown: pickaxe.IsShown = field(default=lambda _path, _blob: True, compare=False)
    since: datetime | None = None
    until: datetime | None = None
    author: str = ""

    @property
    def arguments(self) -> list[str]:
        """The options of `git log`; each value is part of its option, so it cannot be another one."""
        found = []
        if self.since is not None:
            found.append(f"--since={self.since.isoformat()}")
        if self.until is not None:
            found.append(f"--until={self.until.isoformat()}")
        if self.author:
            found += ["--fixed-strings", "--regexp-ignore-case", f"--author={self.author}"]
        if self.text:
            found.append(pickaxe.option(self.text))
        if self.lines is not None:
            found += [f"-L{self.lines[0]},{self.lines[1]}:{self.path}", "--no-patch"]
        elif self.is_file:
            found.append("--follow")
        return found


def log(git: GitRepository, sha: str, wanted: LogFilter, *, limit: int, deadline: Deadline) -> list[LoggedCommit]:
    """The newest `limit` commits reachable from the resolved commit `sha` that the filter lets through.

    Raises:
        InvalidRequest: a text that cannot be looked for.
        DeadlineExceeded: git was not done in time.
        GitFailed: it exited with an error.
    """
    masks = Masks(git.path)
    records = (
        _by_text(git, sha, wanted, limit, deadline) if wanted.text else _records(git, sha, wanted, limit, deadline)
    )
    return [commit for record in records if (commit := _logged(record, masks, wanted.author)) is not None]


def _records(git: GitRepository, sha: str, wanted: LogFilter, limit: int, deadline: Deadline) -> list[str]:
    asked = ["log", "-z", f"--format={_FORMAT}", *_arguments(sha, wanted, limit)]
    out = bounded_git(git.path, asked, deadline=deadline, max_bytes=_LIST_BYTES)
    records = out.text.split("\0")
    return [record for record in (records[:-1] if out.is_cut else records) if record.strip()]


def _by_text(git: GitRepository, sha: str, wanted: LogFilter, limit: int, deadline: Deadline) -> list[str]:
    """Records of commits that hold the text in a line that is shown; more are asked of git when some do not."""
    asked, known = limit, dict[str, bool]()
    while True:
        found = pickaxe.candidates(git, _arguments(sha, wanted, asked), _FORMAT, deadline)
        fresh = [one for one in found if one.record not in known]
        holds = pickaxe.changes_a_shown_line(git, fresh, wanted.text, wanted.is_shown, deadline)
        known |= zip((one.record for one in fresh), holds, strict=True)
        records = [record for record, is_held in known.items() if is_held]
        if len(records) >= limit or len(found) < asked or asked >= _MOST_CANDIDATES:
            return records[:limit]
        asked = min(4 * asked, _MOST_CANDIDATES)


def _arguments(sha: str, wanted: LogFilter, limit: int) -> list[str]:
    """Of `git log`, but for how a commit is written."""
    paths = [wanted.path] if wanted.path and wanted.lines is None else []
    options = ["--no-show-signature", f"--max-count={limit}", *_PLAIN, *wanted.arguments]
    return [*options, "--end-of-options", sha, "--", *paths]


def _logged(record: str, masks: Masks, author: str) -> LoggedCommit | None:
    """The commit as it is shown; None when its author, as shown, does not have that part."""
    sha, name, address, authored, committed, subject, body = record.lstrip("\n").split("\n", 6)
    shown = masks.text(name)
    if author.lower() not in f"{shown} <{masks.text(address)}>".lower():
        return None
    return LoggedCommit(sha, shown, authored, committed, masks.text(subject), masks.text(body.strip()))


@dataclass(slots=True)
class Blamed:
    """Consecutive lines that one commit wrote."""

    start_line: int
    end_line: int
    commit: str
    author: str = ""
    authored_at: int = 0  # seconds since 1970
    subject: str = ""
    path: str = ""  # where the lines were in that commit


def blame(git: GitRepository, sha: str, path: str, lines: tuple[int, int], deadline: Deadline) -> list[Blamed]:
    """Who wrote the lines of a file of the resolved commit, as ranges in their order.

    Raises:
        DeadlineExceeded: git was not done in time.
        GitFailed: no such file or lines in that commit.
    """
    arguments = ["blame", "--porcelain", f"-L{lines[0]},{lines[1]}", sha, "--", path]
    out = bounded_git(git.path, arguments, deadline=deadline, max_bytes=_LIST_BYTES)
    if out.is_cut:
        raise GitFailed("git blame: its output is too large; ask for fewer lines")
    known: dict[str, Blamed] = {}
    ranges: list[Blamed] = []
    at = Blamed(0, 0, "")
    for line in out.text.split("\n"):
        if line.startswith("\t"):
            continue
        if match := _BLAMED.fullmatch(line):
            number, commit = int(match["line"]), match["commit"]
            at = known.setdefault(commit, Blamed(number, number, commit))
            if ranges and ranges[-1].commit == commit and ranges[-1].end_line == number - 1:
                ranges[-1].end_line = number
            else:
                ranges.append(Blamed(number, number, commit))
        else:
            _note(at, line)
    masks = Masks(git.path)
    for facts in known.values():
        facts.author, facts.subject = masks.text(facts.author), masks.text(facts.subject)
    for found in ranges:
        facts = known[found.commit]
        found.author, found.authored_at, found.subject, found.path = (
            facts.author, facts.authored_at, facts.subject, facts.path,
        )  # fmt: skip
    return ranges


def _note(at: Blamed, line: str) -> None:
    key, _, value = line.partition(" ")
    if key == "author":
        at.author = value
    elif key == "author-time":
        at.authored_at = int(value)
    elif key == "summary":
        at.subject = value
    elif key == "filename":
        at.path = value


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A file that differs between two commits; counts are None for binary files."""

    status: str  # added, deleted, modified, renamed, copied or type
    path: str  # of the newer commit, or of the older one when it was deleted
    old_path: str
    additions: int | None = None
    deletions: int | None = None
    is_submodule: bool = field(default=False)


_STATUSES = {"A": "added", "D": "deleted", "M": "modified", "R": "renamed", "C": "copied", "T": "type"}
_SUBMODULE = "160000"


def changes(git: GitRepository, old: str, new: str, deadline: Deadline, path: str = "") -> list[ChangedFile]:
    """The files that differ between two resolved commits (below `path`), by path, renames found.

    `old` may be '' for the parent of `new` (of a first commit: nothing; of a merge nothing differs).

    Raises:
        DeadlineExceeded: git was not done in time.
        GitFailed: there are too many.
    """
    arguments = ["diff-tree", "-r", "-M", "-z", "--raw", "--numstat", "--no-commit-id", *_PLAIN, *_ends(old, new), "--"]
    out = bounded_git(git.path, [*arguments, *filter(None, [path])], deadline=deadline, max_bytes=_LIST_BYTES)
    if out.is_cut:
        raise GitFailed("git diff-tree: too many files differ; give a path")
    fields = iter(out.data.decode("utf-8", "backslashreplace").split("\0"))
    found: dict[str, ChangedFile] = {}
    counts: dict[str, tuple[int | None, int | None]] = {}
    for text in fields:
        if text.startswith(":"):
            changed = _raw(text, fields)
            found[changed.path] = changed
        elif text:
            counts.update([_numbers(text, fields)])
    return [
        ChangedFile(f.status, f.path, f.old_path, *counts.get(f.path, (0, 0)), f.is_submodule)
        for f in sorted(found.values(), key=lambda f: f.path)
    ]


def _raw(text: str, rest: Iterator[str]) -> ChangedFile:
    old_mode, new_mode, _, _, status = text[1:].split(" ")
    first = next(rest)
    path = next(rest) if status[0] in "RC" else first
    return ChangedFile(
        _STATUSES.get(status[0], "modified"), path, first, is_submodule=_SUBMODULE in (old_mode, new_mode)
    )


def _numbers(text: str, rest: Iterator[str]) -> tuple[str, tuple[int | None, int | None]]:
    added, deleted, path = text.split("\t", 2)
    if not path:  # renamed: both paths follow
        next(rest)
        path = next(rest)
    return path, (int(added) if added != "-" else None, int(deleted) if deleted != "-" else None)


def patch(git: GitRepository, old: str, new: str, paths: Sequence[str], deadline: Deadline) -> tuple[str, bool]:
    """The patch of the paths between two resolved commits, masked, by whole lines, and if more than 400 kB were cut.

    `old` may be '' for the parent of `new` (of a first commit: nothing).
    """
    ends = _ends(old, new)
    arguments = ["diff-tree", "-r", "-M", "-p", "--full-index", "--no-commit-id", *_PLAIN, *ends, "--", *paths]
    out = bounded_git(git.path, arguments, deadline=deadline, max_bytes=PATCH_BYTES)
    whole = out.data.rpartition(b"\n")[0] if out.is_cut else out.data.removesuffix(b"\n")
    return Masks(git.path).patch(whole, deadline).decode("utf-8", "replace"), out.is_cut


def _ends(old: str, new: str) -> list[str]:
    return ["--end-of-options", old, new] if old else ["--root", "--end-of-options", new]
