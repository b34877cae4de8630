"""Retention: which generations are kept, why, and how the others are removed while readers and publishers go on."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from codeintel_core.errors import GenerationCorrupt, UnknownGeneration
from codeintel_core.generations import leases
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id, point_at_locked, publish_lock
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.repository.git import GitRepository

_REFS = "refs/codeintel/generations/"


@dataclass(frozen=True, slots=True)
class KeptGeneration:
    """One generation on disk.

    Attributes:
        gen_id: its id.
        manifest: its facts, or None when its manifest is damaged (`problem` says how).
        size_bytes: size of its files, those shared with other generations included.
        is_current, is_pinned: whether it serves, whether it is kept for ever.
        readers: ids of the processes that have it open.
        problem: what is wrong with its manifest, '' when nothing is.
    """

    gen_id: str
    manifest: Manifest | None
    size_bytes: int
    is_current: bool
    is_pinned: bool
    readers: tuple[int, ...]
    problem: str = ""

    @property
    def flags(self) -> list[str]:
        """What sets it apart: current, pinned, leased, damaged."""
        found = {
            "current": self.is_current,
            "pinned": self.is_pinned,
            "leased": bool(self.readers),
            "damaged": bool(self.problem),
        }
        return [name for name, is_so in found.items() if is_so]


@dataclass(slots=True)
class Collected:
    """What a garbage collection did, or would do."""

    repo: str
    removed: list[str] = field(default_factory=list)
    kept: dict[str, list[str]] = field(default_factory=dict)  # gen_id -> reasons
    leftovers: list[str] = field(default_factory=list)
    freed_bytes: int = 0


def describe(home: RepositoryHome) -> list[KeptGeneration]:
    """All generations on disk, oldest first."""
    current, pins, readers = current_id(home), pinned(home), leases.leased(home)
    return [
        _described(folder, current, pins, readers)
        for folder in sorted(home.generations.glob("*"))
        if folder.is_dir()
    ]  # fmt: skip


def pin(home: RepositoryHome, gen_id: str) -> None:
    """Keep a generation for ever; raises `UnknownGeneration`."""
    with publish_lock(home):
        require_kept(home, gen_id)
        home.pins.mkdir(exist_ok=True)
        (home.pins / gen_id).touch()


def unpin(home: RepositoryHome, gen_id: str) -> None:
    """Let garbage collection remove a generation again; raises `UnknownGeneration`."""
    require_kept(home, gen_id)
    (home.pins / gen_id).unlink(missing_ok=True)


def pinned(home: RepositoryHome) -> set[str]:
    """Ids of the pinned generations."""
    return {path.name for path in home.pins.glob("*")}


def require_kept(home: RepositoryHome, gen_id: str) -> None:
    """Raise `UnknownGeneration`, naming what is kept, when there is no such generation."""
    known = [path.name for path in sorted(home.generations.glob("*"))]
    if gen_id not in known:
        raise UnknownGeneration(f"'{home.name}' keeps no generation {gen_id[:100]!r}; it keeps {listed(known)}")


def listed(gen_ids: Iterable[str], most: int = 10) -> str:
    """Generation ids in words, newest first."""
    newest = sorted(gen_ids, reverse=True)
    more = f" and {len(newest) - most} older" if len(newest) > most else ""
    return (", ".join(newest[:most]) or "none") + more


def gc(home: RepositoryHome, *, keep_last: int, min_age: timedelta, dry_run: bool = False) -> Collected:
    """Remove the generations nobody needs, their git refs, and what interrupted builds left behind.

    Kept are CURRENT, the newest `keep_last`, and what is pinned, leased or younger than `min_age`. What goes is moved
    out of sight under the publish lock, so a publish, a roll back or a reader sees it whole or not at all, and is
    deleted after the lock was released; a collection that is killed is completed by the next one.
    """
    done = Collected(home.name)
    with publish_lock(home):
        newest_allowed = datetime.now(UTC) - min_age
        intact: list[KeptGeneration] = []
        doomed: list[str] = []
        for generation in reversed(describe(home)):
            if not generation.problem:
                intact.append(generation)
            is_last = generation in intact[:keep_last]
            reasons = _reasons(home, generation, is_last, newest_allowed)
            if reasons:
                done.kept[generation.gen_id] = reasons
            else:
                doomed.append(generation.gen_id)
        done.removed = sorted(doomed)
        orphans = _orphaned_refs(home, doomed)
        stale = [] if leases.is_being_built(home) or not home.staging.exists() else [home.staging]
        done.leftovers = [path.name for path in stale] + [f"ref {ref}" for ref in orphans]
        done.leftovers += [f"doomed/{path.name}" for path in sorted(home.doomed.glob("*"))]
        paths = [home.generation(gen_id) for gen_id in doomed] + stale
        done.freed_bytes = _unshared_bytes(paths)
        if dry_run:
            return done
        set_aside(home, paths)
        git = GitRepository(home.mirror)
        for gen_id in orphans:
            git.git("update-ref", "-d", _REFS + gen_id)
        for gen_id in pinned(home) - set(done.kept):
            (home.pins / gen_id).unlink(missing_ok=True)
        leases.clear_stale(home)
    clear_doomed(home)
    return done


def drop(home: RepositoryHome, gen_ids: Collection[str]) -> None:
    """Remove generations at once, whoever pinned or reads them; CURRENT moves to the newest of the others, if any.

    Readers that have one open keep it until they let go; no new reader sees it.
    """
    with publish_lock(home):
        left = [path.name for path in sorted(home.generations.glob("*")) if path.name not in gen_ids]
        if current_id(home) in gen_ids:
            if left:
                point_at_locked(home, left[-1])
            else:
                home.current.unlink()
        set_aside(home, [home.generation(gen_id) for gen_id in gen_ids])
        for gen_id in gen_ids:
            (home.pins / gen_id).unlink(missing_ok=True)
    clear_doomed(home)


def set_aside(home: RepositoryHome, folders: Iterable[Path]) -> None:
    """Move folders out of sight, and unpin the commits of those that are generations; hold the publish lock."""
    git = GitRepository(home.mirror)
    for path in folders:
        home.doomed.mkdir(exist_ok=True)
        path.rename(home.doomed / f"{path.name}-{datetime.now(UTC):%Y%m%dt%H%M%S%f}")
        if path.parent == home.generations:
            git.git("update-ref", "-d", _REFS + path.name)


def clear_doomed(home: RepositoryHome) -> None:
    """Delete what was set aside, without the lock."""
    for path in home.doomed.glob("*"):  # each by itself: another collection may be adding to the folder
        shutil.rmtree(path, ignore_errors=True)


def clear_interrupted_adds(home: Home, *, min_age: timedelta, dry_run: bool = False) -> list[str]:
    """Remove what registrations left that were killed more than `min_age` ago; returns the folders' names."""
    oldest_allowed = (datetime.now(UTC) - min_age).timestamp()
    left = [p for p in home.repos.glob(".adding-*") if p.stat().st_mtime <= oldest_allowed]
    for path in left:
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True)
    return sorted(path.name for path in left)


def _described(folder: Path, current: str | None, pins: set[str], readers: dict[str, set[int]]) -> KeptGeneration:
    manifest, problem = None, ""
    try:
        manifest = manifests.load(folder)
    except GenerationCorrupt as error:
        problem = str(error)
    return KeptGeneration(
        gen_id=folder.name,
        manifest=manifest,
        size_bytes=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
        is_current=folder.name == current,
        is_pinned=folder.name in pins,
        readers=tuple(sorted(readers.get(folder.name, ()))),
        problem=problem,
    )


def _reasons(
    home: RepositoryHome, generation: KeptGeneration, is_last: bool, newest_allowed: datetime
) -> list[str]:  # fmt: skip
    reasons = [flag for flag in generation.flags if flag != "damaged"]
    if is_last:
        reasons.append("last")
    born = generation.manifest.created_at.timestamp() if generation.manifest else _changed(home, generation.gen_id)
    if born > newest_allowed.timestamp():
        reasons.append("young")
    return reasons


def _changed(home: RepositoryHome, gen_id: str) -> float:
    return home.generation(gen_id).stat().st_mtime


def _orphaned_refs(home: RepositoryHome, doomed: Iterable[str]) -> list[str]:
    """Refs whose generation is not there: a publish was killed between the ref and the rename."""
    out = GitRepository(home.mirror).git("for-each-ref", "--format=%(refname)", _REFS)
    named = {line.removeprefix(_REFS) for line in out.decode().splitlines()}
    there = {path.name for path in home.generations.glob("*")}
    return sorted(named - there - set(doomed))


def _unshared_bytes(folders: Iterable[Path]) -> int:
    """Bytes that nothing outside the folders links to."""
    files = [path.stat() for folder in folders for path in folder.rglob("*") if path.is_file()]
    links = Counter(file.st_ino for file in files)
    sizes = {file.st_ino: file.st_size for file in files if links[file.st_ino] == file.st_nlink}
    return sum(sizes.values())
