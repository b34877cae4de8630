"""Rolling back: an older generation serves again, and automatic builds leave it so until there is a newer commit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from codeintel_core.errors import GenerationCorrupt, UnknownGeneration
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id, point_at
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home
from codeintel_core.repository import mirror


@dataclass(frozen=True, slots=True)
class Hold:
    """Do not build `head` automatically while `commit` is served."""

    commit: str
    head: str
    since: str


def roll_back(home: Home, repo: str, gen_id: str = "", announce: Callable[[str], None] = lambda _: None) -> Manifest:
    """Serve `gen_id` (by default the generation before the served one) and hold back automatic builds of the head.

    `announce` is told the generation just before this home serves it, and stops that by raising.

    Raises:
        UnknownGeneration: it is not kept, or there is none before the served one.
        GenerationCorrupt: its files are not what was published.
    """
    at = home.repository(repo)
    target = gen_id or _previous(home, repo)
    head = mirror.head(home, repo)
    point_at(at, target, lambda: announce(target))
    manifest = manifests.load(at.generation(target))
    hold = Hold(manifest.commit, head, datetime.now(UTC).isoformat(timespec="seconds"))
    pending = at.hold.with_suffix(".tmp")
    pending.write_text(json.dumps(asdict(hold)) + "\n")
    pending.replace(at.hold)
    return manifest


def hold_of(home: Home, repo: str) -> Hold | None:
    """The hold of a repository; None when there is none, or when another commit serves than it was made for."""
    at = home.repository(repo)
    try:
        hold = Hold(**json.loads(at.hold.read_text()))
        served = manifests.load(at.generation(current_id(at) or "")).commit
    except (FileNotFoundError, ValueError, TypeError, GenerationCorrupt):
        return None
    return hold if hold.commit == served != hold.head else None


def resume(home: Home, repo: str) -> bool:
    """Let automatic builds go on; returns whether they were held back."""
    was_held = hold_of(home, repo) is not None
    home.repository(repo).hold.unlink(missing_ok=True)
    return was_held


def _previous(home: Home, repo: str) -> str:
    at = home.repository(repo)
    served, there = current_id(at), kept(at)
    if served is None:
        raise UnknownGeneration(f"'{repo}' serves nothing yet; run `codeintel build {repo}`")
    try:
        parent = manifests.load(at.generation(served)).parent
    except GenerationCorrupt:
        parent = None
    if parent in there:
        return str(parent)
    older = [gen_id for gen_id in there if gen_id < served]
    if not older:
        raise UnknownGeneration(f"'{repo}' keeps no generation before {served}; see `codeintel generations {repo}`")
    return older[-1]
