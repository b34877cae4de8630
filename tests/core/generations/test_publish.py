"""Publishing: CURRENT names a complete generation whatever happens, and moves only from the parent that was planned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from codeintel_core.errors import GenerationCorrupt, GitFailed, PublishConflict, UnknownGeneration
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id, point_at, publish, publish_lock
from codeintel_core.generations.reader import RepositoryReader, kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.repository import mirror
from tests.conftest import Repo
from tests.core import specimen


@pytest.fixture
def at(home: Home) -> RepositoryHome:
    return home.repository("demo")


def test_publishing_moves_the_folder_pins_the_commit_and_points_at_it(at: RepositoryHome, published: Path) -> None:
    assert current_id(at) == published.name
    assert at.current.read_text() == published.name + "\n"
    assert list(at.staging.iterdir()) == []
    manifest = manifests.load(published)
    manifests.verify(published, manifest)
    pinned = subprocess.run(
        ["git", "-C", at.mirror, "rev-parse", f"refs/codeintel/generations/{published.name}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert pinned.stdout.strip() == manifest.commit


@pytest.mark.e2e
def test_a_publisher_killed_at_any_point_leaves_a_complete_generation(
    home: Home, at: RepositoryHome, source: Repo, published: Path, tmp_path: Path
) -> None:
    manifest = specimen.stage(at, specimen.FILES, commit=source.commit({"new": "x"}))
    mirror.refresh(home, "demo")
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    driver = Path(__file__).with_name("crash_driver.py")
    arguments = [home.root, at.staging / manifest.gen_id, tmp_path / "manifest.json", tmp_path / "work"]
    done = subprocess.run([sys.executable, driver, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    points = [line.split(" ", 2) for line in done.stdout.splitlines()]
    served = []
    for _, _, copy in points:
        crashed = Home(Path(copy)).repository("demo")
        gen_id = current_id(crashed)
        assert gen_id is not None
        manifests.verify(crashed.generation(gen_id), manifests.load(crashed.generation(gen_id)))
        served.append(gen_id)
        staged = crashed.staging / manifest.gen_id
        if staged.exists():  # a second try completes it
            publish(crashed, staged, manifest)
            assert current_id(crashed) == manifest.gen_id
    assert [how for _, how, _ in points] == ["killed"] * (len(points) - 1) + ["finished"]
    swapped = served.index(manifest.gen_id)
    assert set(served[:swapped]) == {published.name}
    assert set(served[swapped:]) == {manifest.gen_id}
    assert 20 < swapped < len(points) - 1  # fsync of every file, folder, rename and pointer come before


def test_a_generation_planned_from_another_parent_is_a_conflict(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    first = specimen.stage(at, specimen.FILES, commit=source.git("rev-parse", "HEAD"))
    second = specimen.stage(at, specimen.FILES, commit=source.git("rev-parse", "HEAD"))
    publish(at, at.staging / second.gen_id, second)
    with pytest.raises(PublishConflict, match=f"{second.gen_id}.*{published.name}.*build again"):
        publish(at, at.staging / first.gen_id, first)
    assert current_id(at) == second.gen_id
    assert kept(at) == [published.name, second.gen_id]


def test_a_commit_that_the_mirror_lacks_is_not_published(at: RepositoryHome, published: Path) -> None:
    manifest = specimen.stage(at, specimen.FILES, commit="1" * 40)
    with pytest.raises(GitFailed):
        publish(at, at.staging / manifest.gen_id, manifest)
    assert current_id(at) == published.name


def test_rolling_back_and_forward(home: Home, at: RepositoryHome, source: Repo, published: Path) -> None:
    newer = specimen.publish_files(home, source, {**specimen.FILES, "b.py": {"b": "def b():\n    pass\n"}})
    for folder in (published, newer, published):
        point_at(at, folder.name)
        assert current_id(at) == folder.name


@pytest.mark.parametrize("gen_id", ["nope", "", ".", "..", "../generations", "../../other/generations/x", "a\0b"])
def test_rolling_back_to_what_is_not_kept(at: RepositoryHome, published: Path, gen_id: str) -> None:
    with pytest.raises(UnknownGeneration, match="codeintel generations demo"):
        point_at(at, gen_id)
    assert current_id(at) == published.name


def test_rolling_back_to_a_generation_of_another_repository(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    other = specimen.publish_files(home, source, name="other")
    with pytest.raises(UnknownGeneration):
        point_at(at, f"../../other/generations/{other.name}")


def test_rolling_back_to_a_damaged_generation_is_refused(
    home: Home, at: RepositoryHome, source: Repo, published: Path
) -> None:
    newer = specimen.publish_files(home, source)
    (published / "chunks.parquet").write_bytes(b"")
    with pytest.raises(GenerationCorrupt, match="chunks.parquet"):  # noqa: RUF043
        point_at(at, published.name)
    assert current_id(at) == newer.name


def test_the_lock_is_held_across_processes(at: RepositoryHome, published: Path) -> None:
    script = (
        "import fcntl, sys\nwith open(sys.argv[1], 'a') as file:\n"
        "    try: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB); print('free')\n"
        "    except BlockingIOError: print('held')"
    )

    def ask() -> str:
        command = [sys.executable, "-c", script, str(at.lock)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with publish_lock(at):
        assert ask() == "held"
    assert ask() == "free"


@pytest.mark.parametrize("content", [b"", b"\n", b"  \n"])
def test_an_empty_pointer_means_nothing_is_published(at: RepositoryHome, published: Path, content: bytes) -> None:
    at.current.write_bytes(content)
    assert current_id(at) is None


@pytest.mark.parametrize("content", [b"nope", b"\xff\xfe", b"a\0b", b"../../x", b"x" * 5000])
def test_a_pointer_to_nowhere_is_a_problem_and_not_a_crash(at: RepositoryHome, published: Path, content: bytes) -> None:
    at.current.write_bytes(content)
    reader = RepositoryReader(at)
    reader.refresh()
    assert reader.problem
