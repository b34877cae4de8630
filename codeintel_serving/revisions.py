"""Revisions as callers write them: a generation, a date, a branch, a tag or a commit, always resolved to a commit."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from codeintel_core.errors import InvalidRequest, UnknownGeneration
from codeintel_core.generations import as_of
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.home import Home

MAX_REVISION_CHARS = 300
_DAY_CHARS = 10
_HEAD = re.compile(r"HEAD(?:[~^]\d{0,6}){0,20}")


def commit_of(home: Home, generation: Generation, revision: str) -> str:
    """The commit that a revision names; '' and HEAD are the pinned one.

    What `as_of` takes (a generation id, a date, a commit of one) names that generation's commit; the rest is git's.

    Raises:
        InvalidRevision: it names no commit.
    """
    if not revision:
        return generation.manifest.commit
    if _HEAD.fullmatch(revision):  # of the generation: a mirror has no HEAD that would mean anything
        return generation.git.resolve(generation.manifest.commit + revision.removeprefix("HEAD"))
    at = home.repository(generation.repo)
    try:
        return manifests.load(at.generation(as_of.resolve(at, revision))).commit
    except (InvalidRequest, UnknownGeneration):
        return generation.git.resolve(revision)


def moment(name: str, text: str, *, is_end: bool) -> datetime | None:
    """A date or time as ISO 8601, '' for none; a day is its start or its end, a time without a zone is UTC.

    Raises:
        InvalidRequest: it is none; `name` is the argument that is named.
    """
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
        if is_end and len(text) == _DAY_CHARS:
            found += timedelta(days=1, seconds=-1)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} is a date (2026-11-03) or a time (2026-11-03T12:00Z)") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
