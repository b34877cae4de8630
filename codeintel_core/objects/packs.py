"""The mirror in a bucket: packs of git objects, each holding what the packs before it lack, and the refs.

A pack is named by its SHA-256 and never changes. The packs of a generation together hold everything that its commit,
branches and tags reach, so a machine with an empty cache reads, greps, blames and verifies as the builder does.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from codeintel_core.errors import GenerationCorrupt, GitFailed
from codeintel_core.generations.manifest import FileDigest, digest
from codeintel_core.repository.git import run_git

_REFS = ("refs/heads", "refs/tags", "refs/codeintel/head")
_MOST_PACKS = 64
_KNOWN = "codeintel-packs"  # file of a mirror: digests of the packs whose objects it has
_REFS_OF = "codeintel-refs"  # file of a mirror: the newest generation whose refs it took over


class MirrorRecord(BaseModel):
    """What a machine needs to make the mirror of one generation.

    Attributes:
        packs: in the order in which they were made.
        refs: branches, tags and the followed head, by name.
        tips: all objects whose closure the packs hold: the generation's commit, and what the refs name.
        shallow: commits whose parents the source does not have.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    packs: tuple[FileDigest, ...]
    refs: dict[str, str]
    tips: tuple[str, ...]
    shallow: tuple[str, ...]


def write(
    mirror: Path, commit: str, before: MirrorRecord | None, folder: Path, timeout_s: float
) -> tuple[MirrorRecord, Path | None]:
    """Record the mirror, and write what `before` lacks as a pack into `folder`.

    One whole pack replaces those of `before` when they are many, when later ones outweigh the first, or when the
    history behind them changed (a shallow source).

    Returns:
        The record, and the file of its last pack, or None when `before` has everything.

    Raises:
        GitFailed: the mirror lacks something, or git took too long.
    """
    refs = _refs(mirror, timeout_s)
    tips = tuple(sorted({commit, *refs.values()}))
    shallow = _shallow(mirror)
    if before is not None and (before.shallow != shallow or _is_worn(before.packs)):
        before = None
    old_packs, old_tips = (before.packs, before.tips) if before else ((), ())
    all_tips = tuple(dict.fromkeys((*old_tips, *tips)))
    same = MirrorRecord(packs=old_packs, refs=refs, tips=all_tips, shallow=shallow)
    if set(tips) <= set(old_tips):
        return same, None
    pack = _pack(mirror, [*tips, *(f"^{tip}" for tip in _present(mirror, old_tips, timeout_s))], folder, timeout_s)
    if pack is None:  # the new tips were known objects
        return same, None
    return same.model_copy(update={"packs": (*old_packs, digest(pack))}), pack


def tips(mirror: Path, commits: Iterable[str], timeout_s: float) -> frozenset[str]:
    """What a mirror keeps reachable: the commits of generations, and what its refs name."""
    return frozenset((*commits, *_refs(mirror, timeout_s).values()))


def write_whole(
    mirror: Path, wanted: Collection[str], folder: Path, timeout_s: float
) -> tuple[MirrorRecord, Path]:  # fmt: skip
    """One pack of all that `tips` reach, and nothing else; as `write`."""
    pack = _pack(mirror, wanted, folder, timeout_s)
    if pack is None:
        raise GitFailed(f"the mirror of {mirror.parent.name} has none of the {len(wanted)} objects that its packs need")
    names = _refs(mirror, timeout_s)
    return MirrorRecord(packs=(digest(pack),), refs=names, tips=tuple(sorted(wanted)), shallow=_shallow(mirror)), pack


def ensure(mirror: Path, timeout_s: float) -> None:
    """Make an empty bare mirror when there is none."""
    if not mirror.is_dir():
        pending = mirror.with_suffix(".making")
        shutil.rmtree(pending, ignore_errors=True)
        pending.mkdir(parents=True)
        run_git(pending, ["init", "--bare", "--quiet", "."], timeout_s=timeout_s)
        pending.rename(mirror)


def take_over(
    mirror: Path, gen_id: str, commit: str, record: MirrorRecord, fetch: Callable[[FileDigest, Path], None],
    timeout_s: float,
) -> None:  # fmt: skip
    """Bring the objects of a record into the mirror, and pin the generation's commit.

    The record's refs are taken over unless those of a newer generation were before. `fetch` writes a pack to a path.

    Raises:
        GenerationCorrupt: the packs do not hold all that the generation needs.
        GitFailed: git took too long.
    """
    ensure(mirror, timeout_s)
    is_newest = gen_id > _read(mirror / _REFS_OF).strip()
    _add_packs(mirror, [pack for pack in record.packs if pack.sha256 not in known(mirror)], fetch, timeout_s)
    if is_newest:
        _cut_off(mirror, record.shallow)
    if not _is_complete(mirror, commit, record, timeout_s):  # objects were collected from the mirror since
        _add_packs(mirror, record.packs, fetch, timeout_s)
        if not _is_complete(mirror, commit, record, timeout_s):
            raise GenerationCorrupt(f"generation {gen_id}: its packs in the bucket lack objects of commit {commit}")
    _git(mirror, timeout_s, "update-ref", f"refs/codeintel/generations/{gen_id}", commit)
    if is_newest:
        _move_refs(mirror, record.refs, timeout_s)
        (mirror / _REFS_OF).write_text(gen_id + "\n")


def note(mirror: Path, gen_id: str, record: MirrorRecord) -> None:
    """Remember that this mirror, from which the record was made, has the objects of its packs."""
    _remember(mirror, record.packs)
    (mirror / _REFS_OF).write_text(gen_id + "\n")


def known(mirror: Path) -> frozenset[str]:
    """Digests of the packs whose objects the mirror was given."""
    return frozenset(_read(mirror / _KNOWN).split())


def _is_worn(packs: tuple[FileDigest, ...]) -> bool:
    first, later = packs[0].size_bytes if packs else 0, sum(pack.size_bytes for pack in packs[1:])
    return len(packs) >= _MOST_PACKS or later > first + (1 << 20)


def _add_packs(
    mirror: Path, packs: Iterable[FileDigest], fetch: Callable[[FileDigest, Path], None], timeout_s: float
) -> None:  # fmt: skip
    """Index packs and move them into the mirror, the index last: git sees a pack once it has one."""
    for pack in packs:
        pending = mirror / "objects" / "pack" / f"tmp_{pack.sha256}.pack"
        pending.parent.mkdir(parents=True, exist_ok=True)
        fetch(pack, pending)
        index = pending.with_suffix(".idx")
        name = _git(
            mirror, timeout_s, "index-pack", "--no-rev-index", "-o", str(index), str(pending)
        ).split()[-1]  # fmt: skip
        pending.replace(pending.with_name(f"pack-{name}.pack"))
        index.replace(index.with_name(f"pack-{name}.idx"))
        _remember(mirror, [pack])


def _is_complete(mirror: Path, commit: str, record: MirrorRecord, timeout_s: float) -> bool:
    """Whether everything that the record names can be reached; what refs name already is taken as whole."""
    tips = sorted({commit, *record.refs.values()})
    try:
        _git(mirror, timeout_s, "rev-list", "--objects", "--quiet", "--stdin", "--not", "--all", lines=tips)
    except GitFailed as error:
        if "took longer" in str(error):
            raise
        return False
    return True


def _move_refs(mirror: Path, refs: dict[str, str], timeout_s: float) -> None:
    there = _git(mirror, timeout_s, "for-each-ref", "--format=%(refname)", *_REFS).splitlines()
    for commands in (  # what is gone first: a branch `a` makes room for a branch `a/b`
        [f"delete {name}" for name in there if name not in refs],
        [f"update {name} {oid}" for name, oid in refs.items()],
    ):
        if commands:
            _git(mirror, timeout_s, "update-ref", "--stdin", lines=commands)


def _refs(mirror: Path, timeout_s: float) -> dict[str, str]:
    """Object ids by name; names that are not UTF-8 are left out, as nobody can ask for them."""
    listed = _git(mirror, timeout_s, "for-each-ref", "--format=%(objectname) %(refname)", *_REFS).splitlines()
    pairs = [line.partition(" ") for line in listed]
    return {name: oid for oid, _, name in pairs if name.isprintable()}


def _pack(mirror: Path, revisions: Iterable[str], folder: Path, timeout_s: float) -> Path | None:
    """Write the objects that revisions reach into a pack, None when there are none."""
    options = ("--revs", "--non-empty", "--delta-base-offset", "--quiet")
    made = _git(mirror, timeout_s, "pack-objects", *options, str(folder / "new"), lines=revisions).strip()
    return folder / f"new-{made}.pack" if made else None


def _present(mirror: Path, oids: Collection[str], timeout_s: float) -> list[str]:
    """Those of the objects that the mirror has; a branch that was rewritten may be gone from it."""
    if not oids:
        return []
    found = _git(mirror, timeout_s, "cat-file", "--batch-check", lines=oids).splitlines()
    return [line.split()[0] for line in found if not line.endswith("missing")]


def _cut_off(mirror: Path, shallow: tuple[str, ...]) -> None:
    """Make history end where the source's does; once the objects behind are here, no longer."""
    if not shallow:
        (mirror / "shallow").unlink(missing_ok=True)
    elif shallow != _shallow(mirror):
        pending = mirror / "shallow.tmp"
        pending.write_text("".join(f"{oid}\n" for oid in shallow))
        pending.replace(mirror / "shallow")


def _shallow(mirror: Path) -> tuple[str, ...]:
    return tuple(sorted(_read(mirror / "shallow").split()))


def _remember(mirror: Path, packs: Iterable[FileDigest]) -> None:
    pending = mirror / f"{_KNOWN}.tmp"
    pending.write_text("".join(f"{sha256}\n" for sha256 in sorted(known(mirror) | {pack.sha256 for pack in packs})))
    pending.replace(mirror / _KNOWN)


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _git(mirror: Path, timeout_s: float, *arguments: str, lines: Iterable[str] = ()) -> str:
    stdin = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    return run_git(mirror, arguments, timeout_s=timeout_s, stdin=stdin).decode("utf-8", "surrogateescape")
