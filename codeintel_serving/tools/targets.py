"""Places as callers write them: `repo:path:10-40`, `repo:path`, `path:10`, `path#symbol`, each found in the scope."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from codeintel_core.chunking.rows import FileRow
from codeintel_core.errors import InvalidRequest, UnknownFile, UnknownRepository
from codeintel_core.generations.generation import Generation
from codeintel_serving.models import MAX_LINE
from codeintel_serving.resolving import nearest

MAX_TARGET_CHARS = 5_000
_LINES = re.compile(r"(?P<place>.+):(?P<start>\d{1,9})(?:-(?P<end>\d{1,9}))?", re.DOTALL)
_REPO = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_FORMS = "a target is 'repo:path', 'repo:path:10', 'repo:path:10-40' or 'path#symbol'; ids of search results fit"


@dataclass(frozen=True, slots=True)
class Target:
    """A place in a repository, as written.

    Attributes:
        place: `repo:path` or `path`.
        symbol: a name or qualified symbol in that file, '' for none.
        start_line, end_line: the range, None where it is open.
    """

    place: str
    symbol: str = ""
    start_line: int | None = None
    end_line: int | None = None


def parse(text: str) -> Target:
    """The target that a text stands for; raises `InvalidRequest` showing the forms."""
    if not text or len(text) > MAX_TARGET_CHARS:
        raise InvalidRequest(_FORMS)
    if match := _LINES.fullmatch(text):
        start = int(match["start"])
        end = int(match["end"]) if match["end"] else start
        if not (1 <= start <= MAX_LINE and 1 <= end <= MAX_LINE):
            raise InvalidRequest(f"lines of a target must be 1..{MAX_LINE}")
        if end < start:
            raise InvalidRequest(f"a target ends at line {end}, before its start at {start}")
        return Target(match["place"], "", start, end)
    place, _, symbol = text.rpartition("#") if "#" in text else (text, "", "")
    if not place:
        raise InvalidRequest(_FORMS)
    return Target(place, symbol)


def find(place: str, generations: Sequence[Generation]) -> tuple[Generation, FileRow]:
    """The readable file at `repo:path` or `path`, and the generation that holds it.

    The path is looked up in catalogs and never joined to a folder, so nothing outside the pinned commits can be named.

    Raises:
        UnknownFile: there is none; one wording for what is missing, hidden, binary or malformed.
        UnknownRepository: what stands before the colon is no repository of the scope.
        InvalidRequest: several repositories hold that path.
    """
    repo, path = split(place, generations)
    searched = [generation for generation in generations if repo in ("", generation.repo)]
    found = [
        (generation, file)
        for generation in searched
        if (file := generation.file(path)) is not None and not file.skip_reason
    ]
    if len(found) > 1:
        forms = " or ".join(repr(f"{generation.repo}:{path}"[:200]) for generation, _ in found[:5])
        raise InvalidRequest(f"several repositories hold that path; write {forms}")
    if not found:
        raise unknown_file([generation.repo for generation in searched])
    return found[0]


def find_path(place: str, generations: Sequence[Generation]) -> tuple[Generation, str, bool]:
    """The readable file or the folder of such files at a place: (generation, path, is it a file).

    Raises:
        UnknownFile, UnknownRepository, InvalidRequest: as `find`.
    """
    repo, path = split(place, generations)
    folder = path.rstrip("/")
    searched = [generation for generation in generations if repo in ("", generation.repo)]
    holding = [generation for generation in searched if generation.catalog.has_folder(folder)]
    if len(holding) == 1:
        return holding[0], folder, False
    if holding:
        forms = " or ".join(repr(f"{generation.repo}:{folder}"[:200]) for generation in holding[:5])
        raise InvalidRequest(f"several repositories hold that path; write {forms}")
    generation, file = find(place, generations)
    return generation, file.path, True


def one(generations: Sequence[Generation]) -> Generation:
    """The only repository of a scope; raises `InvalidRequest` when there are several."""
    if len(generations) > 1:
        names = ", ".join(generation.repo for generation in generations[:20])
        raise InvalidRequest(f"this needs one repository; set scope.repos to one of {names}")
    return generations[0]


def split(place: str, generations: Sequence[Generation]) -> tuple[str, str]:
    """(repository, path) of a place, the repository '' when it is not named.

    Raises:
        UnknownRepository: what stands before the colon can only be a repository, and is none of the scope.
    """
    names = [generation.repo for generation in generations]
    head, colon, tail = place.partition(":")
    if colon and head in names:
        return head, tail
    if colon and _REPO.fullmatch(head) and not any(g.file(place) for g in generations):
        known = ", ".join(names[:20])
        raise UnknownRepository(f"no repository {head!r} in the scope{nearest(head, names)} (in it: {known})")
    return "", place


def unknown_file(repos: Sequence[str]) -> UnknownFile:
    """The one answer to every path that cannot be read."""
    where = ", ".join(map(repr, repos[:5])) + (f" and {len(repos) - 5} more" if len(repos) > 5 else "")
    return UnknownFile(f"{where} has no readable text file at that path in the indexed commit")
