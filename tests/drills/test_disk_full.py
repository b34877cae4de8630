"""Drill 3: the disk is full at each writer of a build, and at the trace and ledger writers.

The home lies on a small tmpfs of its own (mounting needs root; where it is not allowed the drill is skipped and says
so). A filler leaves a few kilobytes more each time, so that one build after another dies at a later writer: each ends
in one named error, CURRENT stays, searches go on, and traces and ledger lines that cannot be written are counted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import fake_encoder, plain_build
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.telemetry import metrics
from codeintel_core.traces import journal, tables
from codeintel_pipelines import runs
from codeintel_serving.models import SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.conftest import GitRepo, Repo
from tests.drills.conftest import cycles, module, settings_for

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("_fake_encoder")]

NAME = "full"
SIZE_MB = 24


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("no tmpfs can be mounted here: there is no program `mount`")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def built(disk: Path, git_repo: GitRepo) -> tuple[Home, Repo]:
    """A home on that file system with one published generation, and a source with a new commit."""
    home = Home(disk / "home")
    home.root.mkdir()
    source = git_repo({f"src/m{i}.py": module(i) for i in range(40)}, name=NAME)
    mirror.add(home, str(source.path), name=NAME)
    plain_build.build(home, settings_for(home), NAME)
    return home, source


def leave(disk: Path, free_kb: int) -> None:
    """Fill the file system until this much is left."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    status = os.statvfs(disk)
    with filler.open("wb") as file, contextlib.suppress(OSError):
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - free_kb * 1024))


def dropped() -> float:
    """Traces and ledger lines that were counted as lost."""
    return sum(
        sample.value
        for metric in (metrics.TRACES_DROPPED, metrics.TELEMETRY_ERRORS)
        for family in metric.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


def test_a_build_meets_a_full_disk_at_one_writer_after_another(built: tuple[Home, Repo], disk: Path) -> None:
    home, source = built
    at = home.repository(NAME)
    first = current_id(at)
    source.commit({"src/new.py": module(99)})
    failures: dict[str, str] = {}
    before = dropped()
    with Services(settings_for(home), encoder=fake_encoder.FakeEncoder) as services:
        services.start()
        free_kb, step_kb = 0, max(16, 640 // cycles(10))
        while current_id(at) == first:
            assert free_kb < SIZE_MB * 1024, "the build never had enough"
            leave(disk, free_kb)
            if error := _error_of_a_build(home):
                # What Dagster would hand to the edge, which makes one line of it.
                shown = runs._reason(error)
                assert shown.slug == "storage-failed", repr(error)
                assert "\n" not in str(shown)
                failures[_where(error)] = str(shown)
            assert services.search(SearchRequest(query="compute_total_7"), Caller("cli")).results
            served = at.generation(str(current_id(at)))
            manifests.verify(served, manifests.load(served))
            free_kb += step_kb
            step_kb = step_kb * 5 // 4
    print(f"{len(failures)} writers met the full disk: {failures}")
    assert len(failures) >= 3
    assert not at.staging.exists()
    assert manifests.load(at.generation(str(current_id(at)))).parent == first
    assert dropped() > before


def _error_of_a_build(home: Home) -> Exception | None:
    try:
        plain_build.build(home, settings_for(home), NAME)
    except Exception as error:
        return error
    return None


def _where(error: BaseException) -> str:
    """Function of the build package that the error came out of."""
    trace, name = error.__traceback__, ""
    while trace is not None:
        if "codeintel_" in trace.tb_frame.f_code.co_filename:
            name = f"{Path(trace.tb_frame.f_code.co_filename).stem}.{trace.tb_frame.f_code.co_name}"
        trace = trace.tb_next
    return name


def test_traces_and_ledgers_on_a_full_disk_are_counted_and_searches_go_on(built: tuple[Home, Repo], disk: Path) -> None:
    home, _ = built
    with Services(settings_for(home), encoder=fake_encoder.FakeEncoder) as services:
        services.start()
        leave(disk, 0)
        before = dropped()
        for number in range(20):
            assert services.search(SearchRequest(query=f"compute_total_{number}"), Caller("cli")).results
        assert dropped() - before >= 20
        (disk / "filler").unlink()
        after = dropped()
        for number in range(5):
            services.search(SearchRequest(query=f"compute_total_{number}"), Caller("cli"))
        assert dropped() == after, "it goes on when there is space again"
    (day,) = journal.days(home.trace_journal)
    assert tables.read_day(tables.traces(home), day).num_rows >= 5
