"""Patches as they are shown: only of files whose text may be read in the pinned commit, by whole lines."""

from __future__ import annotations

from collections.abc import Sequence

from codeintel_core.deadline import Deadline
from codeintel_core.generations.generation import Generation
from codeintel_core.repository import history
from codeintel_core.repository.history import ChangedFile
from codeintel_serving.budgeting import tokens_of


def is_readable(generation: Generation, path: str) -> bool:
    """Whether the pinned commit has a readable text file at that path."""
    file = generation.file(path)
    return file is not None and not file.skip_reason


def patches(
    generation: Generation, old: str, new: str, changed: Sequence[ChangedFile], max_tokens: int, deadline: Deadline
) -> list[str]:
    """The patch of each file until `max_tokens` are reached; '' afterwards, and where there is none to be shown.

    A file that the pinned commit does not show (it is hidden, binary or gone) has no patch: its older text may hold
    what was removed on purpose.
    """
    found: list[str] = []
    left = max_tokens
    for file in changed:
        text = ""
        if left > 0 and file.additions is not None and is_readable(generation, file.path):
            paths = list(dict.fromkeys([file.old_path, file.path])) if is_readable_rename(file) else [file.path]
            text, is_cut = history.patch(generation.git, old, new, paths, deadline)
            text += "\n… cut" if is_cut else ""
            left -= tokens_of(text)
        found.append(text)
    return found


def is_readable_rename(file: ChangedFile) -> bool:
    """Whether both names belong into one patch."""
    return file.status in ("renamed", "copied")
