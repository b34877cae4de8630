"""Files are read and masked once, again after a purge, and are gone with their reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from codeintel_core.home import Home
from codeintel_core.repository import masked_files
from codeintel_core.repository.git import GitRepository, run_git
from codeintel_core.repository.masks import Masks
from codeintel_core.repository.objects import ObjectReader
from codeintel_core.secrets import purged
from codeintel_core.secrets.fingerprint import Fingerprint
from tests.conftest import GitRepo
from tests.core.secrets.planted import TOKENS

CODENAME = "operation nightingale protocol"
TOKEN = TOKENS["github"]


class _Counting(ObjectReader):
    """Notes what git is asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []

    def files_at(self, sha: str, paths: Iterable[str]) -> dict[str, bytes]:
        self.asked += (paths := list(paths))
        return super().files_at(sha, paths)


@pytest.fixture
def home(tmp_path: Path, git_repo: GitRepo) -> Home:
    repo = git_repo({"a.py": f"plan = '{CODENAME}'\n", "b.py": f"token = '{TOKEN}'\n"})
    home = Home(tmp_path / "home")
    mirror = home.repository("shop").mirror
    mirror.parent.mkdir(parents=True)
    run_git(tmp_path, ["clone", "-q", "--mirror", str(repo.path), str(mirror)], timeout_s=60)
    return home


@pytest.fixture
def reader(home: Home) -> Iterator[_Counting]:
    reader = _Counting(home.repository("shop").mirror)
    yield reader
    reader.close()


def test_what_is_kept_is_read_once_until_a_purge_or_the_end(home: Home, reader: _Counting) -> None:
    mirror = home.repository("shop").mirror
    masks, commit = Masks(mirror), GitRepository(mirror).resolve("HEAD")

    def shown(*paths: str) -> dict[str, bytes]:
        return masked_files.at(reader, masks, commit, paths)

    first = shown("a.py", "gone.py")
    assert CODENAME.encode() in first["a.py"] and list(first) == ["a.py"]
    assert TOKEN.encode() not in shown("a.py", "b.py")["b.py"]
    assert shown("a.py", "b.py") == shown("a.py") | shown("b.py")
    assert reader.asked == ["a.py", "gone.py", "b.py"]
    purged.save(home.purged, purged.PurgeList(texts=(Fingerprint.of(CODENAME.encode()),)))
    assert CODENAME.encode() not in shown("a.py")["a.py"]
    assert reader.asked[3:] == ["a.py"]
    masked_files.forget(masks)
    shown("b.py")
    assert reader.asked[4:] == ["b.py"]


def test_another_reader_of_the_same_files_masks_them_itself(home: Home, reader: _Counting) -> None:
    mirror = home.repository("shop").mirror
    commit = GitRepository(mirror).resolve("HEAD")
    for _ in range(2):
        masked_files.at(reader, Masks(mirror), commit, ["a.py"])
    assert reader.asked == ["a.py", "a.py"]
