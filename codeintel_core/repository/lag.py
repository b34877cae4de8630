"""Lag: how far what is served is behind its source, as far as this machine knows without asking the source."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime

from codeintel_core.errors import CodeIntelError
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository


@dataclass(frozen=True, slots=True)
class Lag:
    """Commits that are not served, and for how many minutes; None when unknown."""

    commits: int | None
    minutes: float | None

    @property
    def is_behind(self) -> bool:
        """Whether there is something newer."""
        return bool(self.commits or self.minutes)


def note_head(home: Home, name: str, commit: str) -> None:
    """Remember that the source was seen at `commit`, and since when."""
    path = home.repository(name).seen_head
    if _seen(home, name)[0] == commit:
        return
    pending = path.with_suffix(".tmp")
    pending.write_text(json.dumps({"commit": commit, "since": datetime.now(UTC).isoformat()}) + "\n")
    pending.replace(path)


def lag(home: Home, name: str, served: str) -> Lag:
    """Lag of the commit `served`: against the mirror, and against the source's head when a sensor saw a newer one.

    Commits that the mirror lacks cannot be counted; their minutes run from when the head was first seen.
    """
    now = datetime.now(UTC)
    seen, since = _seen(home, name)
    if mirror.is_at(home, name, served) and seen in ("", served):
        return Lag(0, 0.0)
    try:
        head = mirror.head(home, name)
        commits, first = GitRepository(home.repository(name).mirror).missing(served, head)
    except CodeIntelError:
        return Lag(None, None)
    if seen and since and seen not in (head, served) and not _is_known(home, name, seen):
        return Lag(None, _minutes(now, first or since))
    return Lag(commits, _minutes(now, first) if first else 0.0)


def _seen(home: Home, name: str) -> tuple[str, datetime | None]:
    try:
        found = json.loads(home.repository(name).seen_head.read_text())
        return str(found["commit"]), datetime.fromisoformat(found["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", None


def _is_known(home: Home, name: str, commit: str) -> bool:
    """Whether the mirror has the commit: then the mirror's own head is what counts."""
    try:
        GitRepository(home.repository(name).mirror).resolve(commit)
    except CodeIntelError:
        return False
    return True


def _minutes(now: datetime, then: datetime) -> float:
    return round(max(0.0, (now - then).total_seconds() / 60), 1)
