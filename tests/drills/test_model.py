"""Drill 15: a state machine of add, change, delete, rename, compact, publish, roll back, collect, crash and search.

The model is a plain dict (path -> text) per published generation. Every build runs the real stages on a real git
repository, with the fake encoder at the boundary of the embedded model, whose speed is not the subject.
`DRILL_CYCLES` sets the number of examples.
"""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from benchmarks import fake_encoder, plain_build
from codeintel_core.chunking import WordPieceCounter, chunk_file
from codeintel_core.deadline import Deadline
from codeintel_core.errors import NothingToIndex
from codeintel_core.generations import retention
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.publish import current_id, point_at
from codeintel_core.home import Home
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.repository import mirror
from codeintel_core.scope import Scope
from tests.conftest import Repo
from tests.drills.conftest import cycles, module, settings_for

pytestmark = pytest.mark.e2e

NAME = "model"
PATHS = [
    f"{folder}{name}" for folder in ("", "src/", "src/deep/") for name in ("a.py", "b.py", "c.go", "d.md", "é.txt")
]
TEXTS = st.one_of(
    st.integers(0, 30).map(module),
    st.lists(st.integers(0, 30), min_size=2, max_size=4).map(lambda numbers: "\n\n".join(map(module, numbers))),
    st.sampled_from(
        ["x = 1", "y = 2\r\nz = 3\r\n", "# Title\n\nSome words.\n", "func Run() error {\n\treturn nil\n}\n"]
    ),
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=60),
)
STAGES = ("ingest", "vectors.embed", "index.build_primary", "index.build_lucene", "index.build_catalog", "release")
Files = dict[str, str]


class Crashed(BaseException):
    """Ends a build where a stage would start, with nothing cleaned up (drill 1 kills real processes)."""


class Generations(RuleBasedStateMachine):
    """The repository, its home, and what each published generation should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="drill-"))
        self.source = Repo(self.root / "source")
        self.home = Home(self.root / "home")
        self.settings = settings_for(self.home)
        self.files: Files = {}
        self.published: dict[str, Files] = {}
        self.served: str | None = None
        self.counter = WordPieceCounter()

    @initialize(number=st.integers(0, 5), ratio=st.sampled_from([0.05, 0.5, 10.0]))
    def register(self, number: int, ratio: float) -> None:
        self.settings = settings_for(self.home, inline_rebuild_ratio=ratio)  # tiny repositories change a lot
        self.files = {"a.py": module(number)}
        self._commit()
        self.home.root.mkdir()
        mirror.add(self.home, str(self.source.path), name=NAME)
        self.publish()

    @rule(path=st.sampled_from(PATHS), text=TEXTS)
    def add_or_change(self, path: str, text: str) -> None:
        self.files[path] = text

    @precondition(lambda self: self.files)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        del self.files[data.draw(st.sampled_from(sorted(self.files)))]

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=st.sampled_from(PATHS))
    def rename(self, data: st.DataObject, to: str) -> None:
        self.files[to] = self.files.pop(data.draw(st.sampled_from(sorted(self.files))))

    @rule()
    def publish(self) -> None:
        self._build(force=False)

    @rule()
    def rebuild(self) -> None:
        self._build(force=True)

    @precondition(lambda self: self.served is not None)
    @rule()
    def compact(self) -> None:
        """The served commit again, its indexes merged: neither the head nor its changes matter."""
        assert self.served is not None
        before, files = self._rows(), self.published[self.served]
        with fake_encoder.used_by_builds():
            manifest = plain_build.build(self.home, self.settings, NAME, compact=True)
        self.served = manifest.gen_id
        self.published[self.served] = files
        assert manifest.counts.secondary == manifest.counts.tombstones == 0
        assert self._rows() == before
        self._check_served(0)

    @precondition(lambda self: len(self.published) > 2)
    @rule()
    def collect(self) -> None:
        """Garbage collection of everything that may go."""
        for gen_id in retention.gc(self.home.repository(NAME), keep_last=1, min_age=timedelta(0)).removed:
            del self.published[gen_id]

    @precondition(lambda self: len(self.published) > 1)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        self.served = data.draw(st.sampled_from(sorted(self.published)))
        point_at(self.home.repository(NAME), self.served)

    @rule(stage=st.sampled_from(STAGES))
    def crash(self, stage: str) -> None:
        self._commit()
        with mock.patch.object(*_target(stage), side_effect=Crashed):
            try:
                self._run(force=True)
            except (Crashed, NothingToIndex):
                return
        raise AssertionError(f"the build passed {stage}")

    @invariant()
    def current_is_what_the_model_serves(self) -> None:
        assert current_id(self.home.repository(NAME)) == self.served

    @precondition(lambda self: self.served is not None)
    @rule(pick=st.integers(0, 10_000))
    def search(self, pick: int) -> None:
        self._check_served(pick)

    def teardown(self) -> None:
        """The last word of every run: publish what there is, then compare it with a full rebuild."""
        try:
            if self.served is not None:
                self._build(force=False)
                incremental = self._rows()
                self._build(force=True)
                assert self._rows() == incremental, "incremental and full rebuild differ"
        finally:
            shutil.rmtree(self.root, ignore_errors=True)

    def _commit(self) -> None:
        for entry in self.source.path.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.source.commit({path: text.encode() for path, text in self.files.items()})

    def _build(self, *, force: bool) -> None:
        self._commit()
        try:
            gen_id = self._run(force=force)
        except NothingToIndex:
            assert not self._expected(self.files), "there was something to index"
            return
        self.served = gen_id
        self.published[gen_id] = dict(self.files)
        self._check_served(0)

    def _run(self, *, force: bool) -> str:
        with fake_encoder.used_by_builds():
            return plain_build.build(self.home, self.settings, NAME, force=force).gen_id

    def _expected(self, files: Files) -> set[tuple[int, str, int, str]]:
        """Chunks of the files, cut one by one without git, parent or build."""
        cut = [
            chunk_file(NAME, path, "", text.encode(), self.counter, 230, self.settings.max_file_bytes)
            for path, text in files.items()
        ]
        return {(c.chunk_id, c.path, c.start_line, c.text) for file in cut for c in file.chunks}

    def _rows(self) -> list[tuple[int, str]]:
        assert self.served is not None
        table = pq.read_table(self.home.repository(NAME).generation(self.served) / "embeddings.parquet")
        return sorted(zip(table["chunk_id"].to_pylist(), table["text_key"].to_pylist(), strict=True))

    def _check_served(self, pick: int) -> None:
        """The served generation holds the chunks of its model, in every artefact, and finds one by its own vector."""
        assert self.served is not None
        repository = self.home.repository(NAME)
        folder = repository.generation(self.served)
        columns = ["chunk_id", "path", "start_line", "text"]
        chunks = pq.read_table(folder / "chunks.parquet", columns=columns)
        rows = list(zip(*(chunks[column].to_pylist() for column in columns), strict=True))
        assert set(rows) == self._expected(self.published[self.served])
        generation = Generation.open(folder, repository.mirror)
        generation.acquire()
        try:
            assert generation.lexical is not None
            assert len(rows) == generation.dense.count == generation.lexical.count == generation.manifest.counts.chunks
            self._check_self_hit(generation, folder, rows[pick % len(rows)])
        finally:
            generation.retire()
            generation.release()

    def _check_self_hit(self, generation: Generation, folder: Path, row: tuple[int, str, int, str]) -> None:
        chunk_id, path, _, text = row
        table = pq.read_table(folder / "embeddings.parquet")
        ids = table["chunk_id"].to_numpy()
        vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)
        own = vectors[ids == chunk_id][0]
        found, scores = generation.dense.search(own, len(ids))
        assert sorted(found.tolist()) == sorted(ids.tolist()), "every chunk is found once"
        np.testing.assert_allclose(scores[found == chunk_id], scores[0], atol=1e-3)  # nearly equal ones may swap places
        np.testing.assert_allclose(scores, np.sort(vectors @ own)[::-1], atol=5e-4)  # float16: at most 2 ** -11
        assert generation.catalog.hydrate([chunk_id], Scope())[chunk_id].text == text
        data = generation.read_file(path)
        assert data is not None
        assert text.encode() in data
        assert generation.lexical is not None
        in_file, _ = LexicalSearcher([generation.lexical]).search(
            [(Path(path).stem, 1.0)], 1_000, Scope(), Deadline.after(60)
        )
        assert set(in_file.tolist()) <= set(ids.tolist())


def _target(stage: str) -> tuple[object, str]:
    """Object and attribute of a stage of `plain_build`."""
    owner: object = plain_build
    *parents, name = stage.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    return owner, name


class TestGenerations(Generations.TestCase):
    """The machine as a test."""

    settings = settings(
        max_examples=cycles(4),
        stateful_step_count=12,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
