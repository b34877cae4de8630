"""Commits by a text: those that added or removed a line with it, as that line may be shown.

git names the candidates, from files as they are. A candidate counts only when one of its changed lines holds the text
once secrets are masked. So whether a masked value begins with what somebody guesses has no influence on the answer.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from codeintel_core.deadline import Deadline
from codeintel_core.errors import GitFailed, InvalidRequest
from codeintel_core.repository.bounded import bounded_git
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.masks import Masks
from codeintel_core.secrets.redaction import MASK

IsShown = Callable[[str, str], bool]
"""Whether the content of (path, blob) may be looked at."""
_LIST_BYTES = 20_000_000
_RAW = re.compile(r"\n?:(\d{6}) (\d{6}) ([0-9a-f]{40,64}) ([0-9a-f]{40,64}) ([A-Z])\d*")
_FILE_MODES = ("100644", "100755")
_SPECIAL = re.compile(r"([.\[\\()*+?{|^$])")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A commit as `log` asked for it, and (path, blob) pairs before and after of the files that git found it by."""

    record: str
    files: tuple[tuple[tuple[str, str], ...], ...]


def check(text: str) -> None:
    """Raise `InvalidRequest` for a text that cannot be looked for."""
    if "\n" in text or "\0" in text:
        raise InvalidRequest("text is looked for within lines; it has no line ends and no NUL")
    if not text.strip(MASK):
        raise InvalidRequest("text needs another character than '*', which masked values are written with")


def option(text: str) -> str:
    """The option of `git log` that lets every commit through which may count; raises `InvalidRequest`."""
    check(text)
    # Masks are asterisks, so only what stands between them is also in the file as it is.
    piece = max(text.split(MASK), key=len)
    return "-G" + _SPECIAL.sub(r"\\\1", piece)


def candidates(git: GitRepository, arguments: Sequence[str], form: str, deadline: Deadline) -> list[Candidate]:
    """What `git log` with these arguments says, each record in `form`, which is without its `--format=`.

    Raises:
        DeadlineExceeded: git was not done in time.
        GitFailed: it exited with an error, or there are too many files.
    """
    mark = secrets.token_hex(16)  # no message can hold it
    asked = ["log", "-z", "--raw", "--no-abbrev", f"--format={mark}{form}", *arguments]
    out = bounded_git(git.path, asked, deadline=deadline, max_bytes=_LIST_BYTES)
    if out.is_cut:
        raise GitFailed("git log: too many files changed with that text; give a path, since or until")
    found = []
    for entry in out.data.decode("utf-8", "backslashreplace").split(mark)[1:]:
        record, *fields = entry.split("\0")
        found.append(Candidate(record, tuple(_files(iter(fields)))))
    return found


def changes_a_shown_line(
    git: GitRepository, found: Sequence[Candidate], text: str, is_shown: IsShown, deadline: Deadline
) -> Iterator[bool]:
    """For each candidate whether a line that it added or removed holds `text` once it is masked.

    Raises:
        DeadlineExceeded: the files could not be read in time.
    """
    masks, wanted = Masks(git.path), text.encode("utf-8", "replace")
    looked_at = [[ends for ends in one.files if all(is_shown(*end) for end in ends)] for one in found]
    with closing(git.blobs(blob for files in looked_at for ends in files for _, blob in ends)) as blobs:
        for files in looked_at:
            holds = False
            for ends in files:
                deadline.check("git log")
                sides = [next(blobs)[1] for _ in ends]
                holds = holds or _changes(sides, masks, wanted)
            yield holds


def _changes(sides: Sequence[bytes], masks: Masks, wanted: bytes) -> bool:
    """Whether a line that only one side has (as the file is) holds `wanted` (as it is shown)."""
    lines = [Counter[bytes](), Counter[bytes]()]
    shown: dict[bytes, set[bytes]] = {}
    for side, counts in zip(sides, lines, strict=False):
        for raw, masked in zip(side.split(b"\n"), masks.data(side).split(b"\n"), strict=True):
            counts[raw] += 1
            if wanted in masked:
                shown.setdefault(raw, set()).add(masked)
    before, after = lines
    return any(before[raw] != after[raw] for raw in shown)


def _files(fields: Iterator[str]) -> Iterator[tuple[tuple[str, str], ...]]:
    """The (path, blob) ends of each changed file: one of a file that came or went, else two."""
    for field in fields:
        match = _RAW.fullmatch(field)
        if match is None:
            continue
        old_mode, new_mode, old, new, status = match.groups()
        path = next(fields)
        after = next(fields) if status in "RC" else path
        ends = ((old_mode, path, old), (new_mode, after, new))
        kept = tuple((name, blob) for mode, name, blob in ends if mode in _FILE_MODES)
        if kept:
            yield kept
