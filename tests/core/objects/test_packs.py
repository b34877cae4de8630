"""Packs: after any history of a source, what a machine takes over equals the mirror they were made from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codeintel_core.errors import GenerationCorrupt
from codeintel_core.generations.manifest import FileDigest
from codeintel_core.home import Home
from codeintel_core.objects import packs
from codeintel_core.objects.packs import MirrorRecord
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository
from tests.conftest import GitRepo, Repo


class Bench:
    """A source, its mirror, and the packs that were made of it."""

    def __init__(self, folder: Path, source: Repo) -> None:
        self.home, self.source, self.record, self.number = Home(folder / "home"), source, None, 0
        mirror.add(self.home, str(source.path), name="demo")
        self.mirror, self.store = self.home.repository("demo").mirror, folder / "packs"
        self.other = folder / "other" / "mirror.git"
        self.store.mkdir()

    record: MirrorRecord | None

    def write(self) -> int:
        """Fetch and record; returns the number of packs."""
        commit, self.number = mirror.refresh(self.home, "demo"), self.number + 1
        scratch = self.store / str(self.number)
        scratch.mkdir()
        self.record, pack = packs.write(self.mirror, commit, self.record, scratch, 60)
        if pack is not None:
            pack.rename(self.store / self.record.packs[-1].sha256)
        return len(self.record.packs)

    def take_over(self, other: Path) -> list[bytes]:
        """Take the last record over; returns refs and reachable objects here and there."""
        assert self.record is not None

        def fetch(pack: FileDigest, target: Path) -> None:
            shutil.copyfile(self.store / pack.sha256, target)

        commit = mirror.head(self.home, "demo")
        packs.take_over(other, f"g{self.number:03d}", commit, self.record, fetch, 60)
        found = []
        for path in (self.mirror, other):
            git = GitRepository(path)
            git.git("fsck", "--connectivity-only")
            refs = git.git("for-each-ref", "refs/heads", "refs/tags", "refs/codeintel/head")
            found.append(refs + git.git("rev-list", "--objects", "--no-object-names", "--branches", "--tags"))
        return found


@pytest.fixture
def bench(tmp_path: Path, git_repo: GitRepo) -> Bench:
    return Bench(tmp_path, git_repo({"a.py": "a = 1\n"}))


def test_any_history_travels(bench: Bench, tmp_path: Path) -> None:
    source = bench.source
    steps = [
        lambda: None,
        lambda: source.commit({"b.py": "b = 1\n"}),
        lambda: source.git("tag", "-a", "v1", "-m", "annotated"),
        lambda: source.git("branch", "topic"),
        lambda: (source.git("branch", "-D", "topic"), source.git("branch", "topic/deeper")),  # a file becomes a folder
        lambda: (source.git("reset", "--hard", "--quiet", "HEAD~1"), source.commit({"c.py": "c = 1\n"})),  # forced
        lambda: source.git("tag", "-d", "v1"),
    ]
    for step in steps:
        step()
        bench.write()
        here, there = bench.take_over(bench.other)
        assert there == here
    here, there = bench.take_over(tmp_path / "late" / "mirror.git")  # one with nothing
    assert there == here


def test_a_look_without_changes_makes_no_pack_and_many_become_one(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [bench.write(), bench.write()] == [1, 1]
    bench.source.commit({"b.py": "b = 1\n"})
    assert bench.write() == 2
    monkeypatch.setattr(packs, "_MOST_PACKS", 2)  # the third is one too many; else it takes dozens of commits
    bench.source.commit({"c.py": "c = 1\n"})
    assert bench.write() == 1
    here, there = bench.take_over(tmp_path / "late" / "mirror.git")
    assert there == here


def test_a_shallow_source_travels_and_its_history_when_it_comes(tmp_path: Path, git_repo: GitRepo) -> None:
    deep = git_repo({"a.py": "a = 1\n"}, name="deep")
    deep.commit({"a.py": "a = 2\n"})
    shallow = Repo(tmp_path / "shallow")
    shallow.git("fetch", "--quiet", "--depth=1", f"file://{deep.path}", "main:main", "--update-head-ok")
    bench = Bench(tmp_path, shallow)
    bench.write()
    here, there = bench.take_over(bench.other)
    assert there == here
    shallow.git("fetch", "--quiet", "--unshallow", f"file://{deep.path}")
    shutil.rmtree(bench.mirror)
    bench.mirror.parent.joinpath("repository.json").unlink()
    mirror.add(bench.home, str(shallow.path), name="demo")
    assert bench.write() == 1
    here, there = bench.take_over(bench.other)
    assert there == here


def test_a_mirror_without_all_objects_is_refused(bench: Bench) -> None:
    bench.write()
    bench.source.commit({"b.py": "b = 1\n"})
    bench.write()
    assert bench.record is not None
    bench.record = bench.record.model_copy(update={"packs": bench.record.packs[1:]})
    with pytest.raises(GenerationCorrupt, match="lack objects of commit"):
        bench.take_over(bench.other)
