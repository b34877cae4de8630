"""Garbage collection removes what nobody needs and nothing else, next to readers, publishers and dead processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from codeintel_core.errors import UnknownGeneration
from codeintel_core.generations import leases, retention
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import RepositoryReader, kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.scope import Scope
from tests.conftest import Repo
from tests.core import specimen
from tests.core.conftest import Template, copied

NOW = timedelta(0)


@pytest.fixture
def at(home: Home) -> RepositoryHome:
    return home.repository("demo")


@pytest.fixture(scope="module")
def _four(template: Template) -> Path:
    more = ({f"src/n{n}.py": {"n": f"def n():\n    return {n}\n"}} for n in range(3))
    return template(specimen.FILES, *({**specimen.FILES, **new} for new in more))


@pytest.fixture
def four(home: Home, source: Repo, _four: Path) -> list[str]:
    """Ids of four generations, oldest first."""
    return [folder.name for folder in copied(_four, home, source)]


def _refs(at: RepositoryHome) -> set[str]:
    out = subprocess.run(
        ["git", "-C", at.mirror, "for-each-ref", "--format=%(refname:lstrip=3)", "refs/codeintel/generations"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(out.stdout.split())


_HOLDER = """
import sys
from pathlib import Path
from codeintel_core.generations.leases import ReaderLease
from codeintel_core.home import RepositoryHome
lease = ReaderLease.take(RepositoryHome(Path(sys.argv[1])), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def _holder(at: RepositoryHome, gen_id: str) -> subprocess.Popen[str]:
    """A process that leases a generation until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(at.root), gen_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_only_what_nobody_needs_is_removed(at: RepositoryHome, four: list[str]) -> None:
    done = retention.gc(at, keep_last=2, min_age=NOW)
    assert done.removed == four[:2]
    assert done.kept == {four[3]: ["current", "last"], four[2]: ["last"]}
    assert done.freed_bytes > 0
    assert kept(at) == four[2:]
    assert _refs(at) == set(four[2:])
    assert list(at.doomed.iterdir()) == []
    for gen_id in four[2:]:
        manifests.verify(at.generation(gen_id), manifests.load(at.generation(gen_id)))
    assert retention.gc(at, keep_last=2, min_age=NOW).removed == []


def test_young_and_pinned_generations_are_kept(at: RepositoryHome, four: list[str]) -> None:
    assert retention.gc(at, keep_last=1, min_age=timedelta(days=1)).removed == []
    retention.pin(at, four[0])
    done = retention.gc(at, keep_last=1, min_age=NOW)
    assert (done.removed, done.kept[four[0]]) == (four[1:3], ["pinned"])
    retention.unpin(at, four[0])
    assert retention.gc(at, keep_last=1, min_age=NOW).removed == [four[0]]


def test_a_rolled_back_pointer_is_kept_however_old(at: RepositoryHome, four: list[str]) -> None:
    at.current.write_text(four[0] + "\n")
    assert retention.gc(at, keep_last=1, min_age=NOW).removed == four[1:3]
    assert kept(at) == [four[0], four[3]]


def test_pinning_what_is_not_kept_says_what_is(at: RepositoryHome, published: Path) -> None:
    for change in (retention.pin, retention.unpin):
        for gen_id in ("nope", "../generations", ""):
            with pytest.raises(UnknownGeneration, match=published.name):
                change(at, gen_id)
    assert retention.pinned(at) == set()


def test_a_reader_of_another_process_protects_its_generation_until_it_dies(at: RepositoryHome, four: list[str]) -> None:
    process = _holder(at, four[0])
    done = retention.gc(at, keep_last=1, min_age=NOW)
    assert done.removed == four[1:3]
    assert done.kept[four[0]] == ["leased"]
    assert retention.describe(at)[0].readers == (process.pid,)
    process.kill()
    process.communicate()
    assert len(list(at.leases.iterdir())) == 1  # nobody could remove the file
    assert retention.gc(at, keep_last=1, min_age=NOW).removed == [four[0]]
    assert list(at.leases.iterdir()) == []


def test_an_open_generation_is_leased_until_it_closes(at: RepositoryHome, four: list[str]) -> None:
    generation = Generation.open(at.generation(four[0]), at.mirror)
    generation.acquire()
    generation.retire()
    assert leases.leased(at) == {four[0]: {os.getpid()}}
    assert four[0] not in retention.gc(at, keep_last=1, min_age=NOW).removed
    generation.release()
    assert leases.leased(at) == {}


def test_a_generation_that_does_not_open_holds_no_lease(at: RepositoryHome, published: Path) -> None:
    (published / "catalog.duckdb").write_bytes(b"")
    with pytest.raises(Exception, match="catalog.duckdb"):  # noqa: RUF043
        Generation.open(published, at.mirror)
    assert leases.leased(at) == {}


def test_a_home_that_cannot_be_written_is_still_read(at: RepositoryHome, published: Path) -> None:
    at.leases.write_text("in the way")
    generation = Generation.open(published, at.mirror)
    assert generation.catalog.hydrate([], Scope()) == {}


@pytest.mark.e2e
def test_collections_and_publishes_at_once_lose_nothing(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    stop, errors = threading.Event(), list[Exception]()
    at.lease.write_text(json.dumps({"run_id": "r", "pid": os.getpid(), "started": leases.start_of(os.getpid())}))

    def collect() -> None:
        try:
            while not stop.wait(0.005):  # or the collectors keep the publisher from its lock
                retention.gc(at, keep_last=1, min_age=NOW)
        except Exception as error:
            errors.append(error)

    collectors = [threading.Thread(target=collect) for _ in range(2)]
    for thread in collectors:
        thread.start()
    reader = RepositoryReader(at)
    for n in range(6):
        specimen.publish_files(home, source, {"src/a.py": {"a": f"def a():\n    return {n}\n"}})
        reader.refresh()
        generation = reader.acquire()
        assert generation.manifest.gen_id == current_id(at)
        assert generation.lexical is not None
        assert generation.lexical.count == 1
        generation.release()
    stop.set()
    for thread in collectors:
        thread.join()
    assert errors == []
    retention.gc(at, keep_last=1, min_age=NOW)
    assert kept(at) == [current_id(at)]
    assert _refs(at) == set(kept(at))


def test_leftovers_of_killed_processes_are_removed(at: RepositoryHome, four: list[str]) -> None:
    commit = manifests.load(at.generation(four[0])).commit
    subprocess.run(["git", "-C", at.mirror, "update-ref", "refs/codeintel/generations/lost", commit], check=True)
    (at.doomed / "half-deleted").mkdir(parents=True)
    (at.staging / "c0ffee").mkdir(parents=True, exist_ok=True)
    at.lease.write_text(json.dumps({"run_id": "r", "pid": os.getpid(), "started": "0"}))  # a reused process id
    expected = ["staging", "ref lost", "doomed/half-deleted"]
    assert retention.gc(at, keep_last=9, min_age=NOW, dry_run=True).leftovers == expected
    assert at.staging.exists()
    assert retention.gc(at, keep_last=9, min_age=NOW).leftovers == expected
    assert not at.staging.exists()
    assert list(at.doomed.iterdir()) == []
    assert _refs(at) == set(four)


def test_the_staging_folder_of_a_living_build_is_kept(at: RepositoryHome, published: Path) -> None:
    (at.staging / "c0ffee").mkdir(parents=True, exist_ok=True)
    holder = {"run_id": "r", "pid": os.getpid(), "started": leases.start_of(os.getpid())}
    at.lease.write_text(json.dumps(holder))
    assert retention.gc(at, keep_last=1, min_age=NOW).leftovers == []
    assert at.staging.exists()


def test_interrupted_adds_are_removed_once_they_are_old(home: Home, published: Path) -> None:
    left = home.repos / ".adding-x1"
    left.mkdir()
    assert retention.clear_interrupted_adds(home, min_age=timedelta(days=1)) == []
    assert retention.clear_interrupted_adds(home, min_age=NOW, dry_run=True) == [".adding-x1"]
    assert left.exists()
    assert retention.clear_interrupted_adds(home, min_age=NOW) == [".adding-x1"]
    assert not left.exists()


def test_a_dry_run_changes_nothing(at: RepositoryHome, four: list[str]) -> None:
    before = {path for path in at.root.rglob("*") if path != at.lock}
    assert retention.gc(at, keep_last=1, min_age=NOW, dry_run=True).removed == four[:3]
    assert {path for path in at.root.rglob("*") if path != at.lock} == before


def test_a_damaged_generation_does_not_count_among_the_last(at: RepositoryHome, four: list[str]) -> None:
    (at.generation(four[2]) / "manifest.json").write_text("{}")
    assert [g.gen_id for g in retention.describe(at) if g.flags == ["damaged"]] == [four[2]]
    done = retention.gc(at, keep_last=2, min_age=NOW)
    assert done.removed == [four[0], four[2]]
    assert done.kept[four[1]] == ["last"]


def test_bytes_that_a_kept_generation_shares_are_not_freed(at: RepositoryHome, four: list[str]) -> None:
    big = at.generation(four[0]) / "chunks.parquet"
    shared = at.generation(four[3]) / "chunks.parquet"
    shared.unlink()
    os.link(big, shared)
    size = sum(p.stat().st_size for p in at.generation(four[0]).rglob("*") if p.is_file()) - big.stat().st_size
    retention.pin(at, four[1])
    retention.pin(at, four[2])
    assert retention.gc(at, keep_last=1, min_age=NOW).freed_bytes == size
