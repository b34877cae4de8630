"""`as_of`: which kept generation a question about the past means."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from codeintel_core.errors import GenerationCorrupt, InvalidRequest, UnknownGeneration
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import RepositoryHome

MAX_CHARS = 100
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_GENERATION = re.compile(r"\d{8}t\d{6,}-[0-9a-f]+-[0-9a-f]+")
_FORMS = "a generation id, a date (2026-11-03 or 2026-11-03T12:00Z) or a commit id of 7 digits or more"
_MOST_LISTED = 10


def resolve(home: RepositoryHome, when: str) -> str:
    """Id of the generation that `when` names.

    A generation id names itself. A commit names the newest generation of that commit. A date names the newest
    generation that had been built by then; a day without a time means its end, a time without a zone UTC.

    Raises:
        InvalidRequest: it is none of these.
        UnknownGeneration: nothing is kept for it; the message lists what is.
    """
    when = when.strip()
    if not when or len(when) > MAX_CHARS:
        raise InvalidRequest(f"as_of is {_FORMS}, of at most {MAX_CHARS} characters")
    is_id = _GENERATION.fullmatch(when) is not None
    if is_id and home.generation(when).is_dir():
        return when
    kept = _kept(home)
    if is_id:
        found = []
    elif _COMMIT.fullmatch(when.lower()):
        found = [manifest for manifest in kept if manifest.commit.startswith(when.lower())]
        if len({manifest.commit for manifest in found}) > 1:
            raise InvalidRequest(f"as_of '{when}' is the start of several commits; give more digits")
    else:
        until = _until(when)
        found = [manifest for manifest in kept if manifest.created_at <= until]
    if not found:
        listed = ", ".join(_line(manifest) for manifest in reversed(kept[-_MOST_LISTED:])) or "nothing"
        more = f" and {len(kept) - _MOST_LISTED} older" if len(kept) > _MOST_LISTED else ""
        raise UnknownGeneration(f"'{home.name}' keeps no generation for as_of '{when}'; it keeps {listed}{more}")
    return found[-1].gen_id


def _until(when: str) -> datetime:
    try:
        moment = datetime.fromisoformat(when)
        if _DATE.fullmatch(when):
            moment += timedelta(days=1, microseconds=-1)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"as_of is {_FORMS}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _kept(home: RepositoryHome) -> list[Manifest]:
    """Manifests of the generations that can be read, oldest first."""
    found = []
    for folder in sorted(home.generations.glob("*")):
        try:
            found.append(manifests.load(folder))
        except GenerationCorrupt:
            continue
    return found


def _line(manifest: Manifest) -> str:
    return f"{manifest.gen_id} (commit {manifest.commit[:10]}, built {manifest.created_at:%Y-%m-%d %H:%M})"
