"""A server, a bucket of it for each test, and machines that share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.objects import shared
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.replica import Replica
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from tests import s3_server
from tests.conftest import Repo
from tests.core import specimen

MORE: specimen.Files = {**specimen.FILES, "src/new.py": {"brand_new": "def brand_new():\n    return 1\n"}}
"""The files of the specimen and one more."""


@dataclass(eq=False)
class Machine:
    """A machine with a home in a bucket: what is on it, and what it does."""

    settings: Settings

    @property
    def home(self) -> Home:
        return Home(self.settings.home)

    @property
    def demo(self) -> RepositoryHome:
        return self.home.repository("demo")

    def replica(self, **options: Any) -> Replica:
        options = {"max_bytes": 1 << 30} | options
        return Replica(Bucket.of(self.settings), self.home, **options)

    def stage(self, source: Repo, files: specimen.Files = specimen.FILES) -> tuple[Path, Manifest]:
        """Plan, as a build does: register, look at the bucket, stage a generation of the files on the parent."""
        commit = source.commit(specimen.sources(files))
        shared.opened(self.settings, generations=False)
        mirror.add(self.home, str(source.path), name="demo")
        shared.share(self.settings)
        shared.prepare(self.settings, self.home, "demo")
        manifest = specimen.stage(self.demo, files, commit=commit)
        return self.demo.staging / manifest.gen_id, manifest

    def publish(self, source: Repo, files: specimen.Files = specimen.FILES) -> Manifest:
        folder, manifest = self.stage(source, files)
        shared.publish_shared(self.settings, self.demo, folder, manifest)
        return manifest


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    s3_server.set_credentials(monkeypatch)


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """A server for all tests of the folder."""
    with s3_server.serving() as url:
        yield url


MakeMachine = Callable[..., Machine]


@pytest.fixture
def machine(endpoint: str, tmp_path: Path) -> MakeMachine:
    """Factory of machines that share one new bucket: `machine("reader")`."""
    url = s3_server.new_bucket(endpoint)

    def make(name: str, **changes: Any) -> Machine:
        options = {"endpoint": endpoint, "url": url} | changes
        return Machine(s3_server.settings_of(options.pop("endpoint"), options.pop("url"), tmp_path / name, **options))

    return make


@pytest.fixture
def builder(machine: MakeMachine) -> Machine:
    """A machine that builds."""
    return machine("builder")


@pytest.fixture
def reader(machine: MakeMachine) -> Machine:
    """Another, with nothing on it yet."""
    return machine("reader")


@pytest.fixture
def first(builder: Machine, source: Repo, home: Home, published: Path) -> Manifest:
    """A generation in the bucket: that of `published`, from when the builder's home was a folder."""
    builder.settings.home.parent.mkdir(exist_ok=True)
    home.root.rename(builder.settings.home)
    shared.prepare(builder.settings, builder.home, "demo")
    return manifests.load(builder.demo.generation(published.name))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the objects that this process uploads."""
    found: list[str] = []
    upload = Bucket.upload
    monkeypatch.setattr(Bucket, "upload", lambda self, key, path: (found.append(key), upload(self, key, path)))
    return found
