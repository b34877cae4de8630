"""Drill 2: a flipped bit, a truncation, appended junk, a missing, swapped or torn file in every kind of artefact.

The damaged generation is refused by the name of the file (with both digests where its size is right), and the
previous generation serves with `problem` set: in a reader that was running, and in one that starts on the damage.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks import fake_encoder, plain_build
from codeintel_core.errors import GenerationCorrupt
from codeintel_core.generations.reader import RepositoryReader
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.repository import mirror
from tests.conftest import Repo
from tests.drills.conftest import module, settings_for

pytestmark = pytest.mark.e2e

NAME = "damaged"
ARTEFACTS = (
    "chunks.parquet/part-*", "symbols.parquet/part-*", "files.parquet", "embeddings.parquet/part-*",
    "catalog.duckdb", "catalog_overlay.duckdb", "catalog_overlay_gone.arrow", "catalog.arrow",
    "catalog_definitions.arrow", "dense/primary.faiss", "dense/primary_ids.npy", "dense/secondary.faiss",
    "dense/secondary_ids.npy",
    "dense/tombstones.parquet", "lucene/segments_*", "lucene/*.cfs", "lucene/*.cfe", "lucene/*.si",
    "manifest.json", "manifest.sha256",
)  # fmt: skip


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    _replace(path, bytes(data))


def truncate(path: Path) -> None:
    _replace(path, path.read_bytes()[:-2])  # more than a last newline


def tear(path: Path) -> None:
    _replace(path, path.read_bytes()[: path.stat().st_size // 2])


def append(path: Path) -> None:
    _replace(path, path.read_bytes() + b"junk")


def remove(path: Path) -> None:
    path.unlink()


DAMAGES = (flip, truncate, tear, append, remove)


def _replace(path: Path, data: bytes) -> None:
    """In a file of its own: what is hard-linked from the parent stays whole there."""
    path.unlink()
    path.write_bytes(data)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, str, str]:
    """A home with two generations, the second one incremental."""
    root = tmp_path_factory.mktemp("damage")
    home = Home(root / "home")
    home.root.mkdir()
    source = Repo(root / "source")
    source.git("config", "user.name", "Ada")  # module scope: the clean environment of each test is not there yet
    source.git("config", "user.email", "ada@example.org")
    source.commit({f"src/m{i}.py": module(i) for i in range(30)})  # one part
    mirror.add(home, str(source.path), name=NAME)
    with fake_encoder.used_by_builds():
        first = plain_build.build(home, settings_for(home), NAME)
        source.commit({"src/m0.py": module(100)})
        second = plain_build.build(home, settings_for(home), NAME)
    assert second.counts.secondary and second.counts.tombstones, "the second generation links the primary"
    return home, first.gen_id, second.gen_id


@pytest.fixture
def copy(published: tuple[Home, str, str], tmp_path: Path) -> Iterator[tuple[RepositoryHome, str, str]]:
    """A copy of that home for one damage."""
    home, first, second = published
    shutil.copytree(home.root, tmp_path / "home", symlinks=True, dirs_exist_ok=True)
    at = Home(tmp_path / "home").repository(NAME)
    yield at, first, second
    shutil.rmtree(tmp_path / "home")


def _one(folder: Path, pattern: str) -> Path:
    """The file that only this generation has, where a pattern matches several."""
    return max(folder.glob(pattern), key=lambda path: path.stat().st_mtime)


def _refused_and_previous_serves(at: RepositoryHome, first: str, second: str, names: tuple[str, ...]) -> None:
    at.current.write_text(first + "\n")
    running, starting = RepositoryReader(at), RepositoryReader(at)
    assert running.refresh()
    at.current.write_text(second + "\n")
    assert not running.refresh()
    assert starting.refresh()
    for reader in (running, starting):
        assert any(name in reader.problem for name in names), f"{names} not in {reader.problem!r}"
        assert second in reader.problem
        generation = reader.acquire()
        assert generation.manifest.gen_id == first
        assert generation.catalog.sample_definitions(3)
        generation.release()
        reader.close()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_a_damaged_file_is_refused_by_name(
    copy: tuple[RepositoryHome, str, str], artefact: str, damage: Callable[[Path], None]
) -> None:
    at, first, second = copy
    path = _one(at.generation(second), artefact)
    damage(path)
    name = path.relative_to(at.generation(second)).as_posix()
    _refused_and_previous_serves(at, first, second, ("manifest.json", name) if "manifest" in name else (name,))


def test_the_message_holds_both_digests(copy: tuple[RepositoryHome, str, str]) -> None:
    at, _, second = copy
    flip(at.generation(second) / "dense" / "secondary.faiss")
    reader = RepositoryReader(at)
    reader.refresh()
    assert reader.problem.count("…") == 2
    assert "SHA-256" in reader.problem
    reader.close()


@pytest.mark.parametrize(
    "pair",
    [("symbols.parquet/part-0000.parquet", "files.parquet"), ("dense/primary_ids.npy", "dense/secondary_ids.npy")],
)
def test_swapped_files_are_refused(copy: tuple[RepositoryHome, str, str], pair: tuple[str, str]) -> None:
    at, first, second = copy
    a, b = (at.generation(second) / name for name in pair)
    one, other = a.read_bytes(), b.read_bytes()
    _replace(a, other)
    _replace(b, one)
    _refused_and_previous_serves(at, first, second, pair)


@pytest.mark.parametrize(
    "name", ["chunks.parquet/part-0000.parquet", "files.parquet", "dense/secondary.faiss", "manifest.json"]
)
def test_a_sound_file_of_another_generation_is_refused(copy: tuple[RepositoryHome, str, str], name: str) -> None:
    at, first, second = copy
    _replace(at.generation(second) / name, (at.generation(first) / name).read_bytes())
    _refused_and_previous_serves(at, first, second, ("its manifest belongs to",) if "manifest" in name else (name,))


def test_a_file_that_does_not_belong_is_refused(copy: tuple[RepositoryHome, str, str]) -> None:
    at, first, second = copy
    (at.generation(second) / "lucene" / "_9.cfs").write_bytes(b"smuggled")
    _refused_and_previous_serves(at, first, second, ("lucene/_9.cfs",))


def test_damage_to_a_shared_file_is_named_and_what_is_open_goes_on(published: tuple[Home, str, str]) -> None:
    """Both generations share the primary by hard link: a bit that flips there damages both, and is not hidden."""
    home, first, second = published
    at = home.repository(NAME)
    shared = at.generation(second) / "dense" / "primary.faiss"
    assert shared.samefile(at.generation(first) / "dense" / "primary.faiss")
    running = RepositoryReader(at)
    assert running.acquire().manifest.gen_id == second
    sound = shared.read_bytes()
    try:
        shared.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        assert not running.refresh()
        assert running.acquire().catalog.sample_definitions(1)
        starting = RepositoryReader(at)
        with pytest.raises(GenerationCorrupt, match=r"dense/primary\.faiss"):
            starting.acquire()
    finally:
        shared.write_bytes(sound)
        running.close()
