"""Generations in a real PostgreSQL with pgvector: built, found, rolled back, collected and purged; and without it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from pydantic import SecretStr

from benchmarks.plain_build import build
from codeintel_core.deadline import Deadline
from codeintel_core.embedding.select import encoder_for
from codeintel_core.errors import PublishConflict, VectorEngineUnavailable
from codeintel_core.generations.as_of import resolve
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.rollback import roll_back
from codeintel_core.home import Home
from codeintel_core.models.breaker import Breaker
from codeintel_core.repository import mirror
from codeintel_core.retrieval import elsewhere
from codeintel_core.retrieval.engine import SearchEngine, SearchResult
from codeintel_core.retrieval.modes import Mode
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import run
from codeintel_core.vector_engine.postgresql import PostgresEngine
from codeintel_core.vector_engine.protocol import Pin, VectorEngine
from codeintel_core.vector_engine.select import engine_for
from codeintel_pipelines import resources, retention, watch
from codeintel_pipelines.build import release
from codeintel_pipelines.defs.sensors import git_head
from codeintel_pipelines.purge import purge
from codeintel_pipelines.watch import Due
from tests.conftest import Repo
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.e2e

_EVERYTHING = Scope()
_QUERY = "split an expression into numbers and operators"


@pytest.fixture
def settings(home: Home, source: Repo, postgres: PostgresServer, tmp_path: Path) -> Settings:
    mirror.add(home, str(source.path), name="calculator")
    url = postgres.database(tmp_path.name)
    return Settings(home=home.root, vector_engine=url, retrieval_budget_ms=60_000, gc_min_age_h=0, gc_keep_last=1)


@pytest.fixture
def there(settings: Settings) -> Iterator[VectorEngine]:
    engine = engine_for(settings)
    assert engine is not None
    with closing(engine):
        yield engine


@contextmanager
def _searching(settings: Settings, engine: VectorEngine | None) -> Iterator[SearchEngine]:
    searching = SearchEngine(settings, lambda: encoder_for(settings), vector_engine=engine)
    yield searching
    searching.close()


@contextmanager
def _opened(home: Home, gen_id: str) -> Iterator[Generation]:
    repository = home.repository("calculator")
    generation = Generation.open(repository.generation(gen_id), repository.mirror)
    generation.acquire()
    yield generation
    generation.retire()
    generation.release()


def _found(
    settings: Settings, engine: VectorEngine | None, generation: Generation, scope: Scope = _EVERYTHING
) -> tuple[SearchResult, dict[str, str]]:
    """What the dense channel finds, and its steps with their status."""
    with _searching(settings, engine) as searching, run("search", None) as current:
        result = searching.search(_QUERY, [generation], scope=scope, limit=50, mode=Mode.SEMANTIC)
        return result, {step.kind: step.status.value for step in current.steps}


def _ids(result: SearchResult) -> list[int]:
    return [hit.chunk.chunk_id for hit in result.hits]


def _rows(postgres: PostgresServer, settings: Settings, manifest: Manifest) -> list[str]:
    """Paths of the rows that PostgreSQL holds, whoever sees them."""
    assert settings.vector_engine is not None
    with postgres.connect(settings.vector_engine.get_secret_value()) as connection:
        found = connection.execute(f"SELECT path FROM codeintel_vectors_{manifest.contract_id}").fetchall()
    return [path for (path,) in found]


def _away(settings: Settings) -> Settings:
    """The same with a server that is not there."""
    return settings.model_copy(update={"vector_engine": SecretStr("postgresql://nobody:hunter2@127.0.0.1:1/none")})


def _pin(manifest: Manifest) -> Pin:
    pin = elsewhere.pin_of(manifest)
    assert pin is not None
    return pin


def _asked_for(home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """Partitions that the sensor asks builds for."""
    monkeypatch.setattr(resources, "get_settings", lambda: settings)  # read once per process, from its environment
    with dg.instance_for_test() as instance:
        wired = {"home": resources.HomeResource(root=str(home.root))}
        result = git_head(dg.build_sensor_context(instance=instance, resources=wired))
    assert isinstance(result, dg.SensorResult)
    return [request.partition_key for request in result.run_requests or []]


def test_a_generation_lives_there_from_its_build_to_its_collection(
    home: Home, source: Repo, settings: Settings, there: VectorEngine, postgres: PostgresServer
) -> None:
    one = build(home, settings, "calculator")
    assert (one.vector_engine.reason, one.vector_engine.count) == ("", one.counts.embedded)
    assert len(_rows(postgres, settings, one)) == one.counts.embedded
    assert build(home, settings, "calculator").gen_id == one.gen_id, "it is up to date"
    again = build(home, settings, "calculator", force=True)
    assert len(_rows(postgres, settings, one)) == one.counts.embedded, "no second copy"
    assert again.vector_engine == one.vector_engine

    source.commit({"src/more.py": "def more_numbers(text):\n    return text.split()\n", "docs/guide.md": None})
    with run("build", None) as current:
        two = build(home, settings, "calculator")
    (published,) = [step for step in current.steps if step.kind == "build.vector_engine"]
    added = int(str(published.attributes["added"]))
    assert published.attributes["incremental"] is True
    assert 0 < added < one.counts.embedded
    assert two.vector_engine.count == two.counts.embedded
    assert len(_rows(postgres, settings, one)) == one.counts.embedded + added
    compacted = build(home, settings, "calculator", compact=True)
    assert compacted.vector_engine == two.vector_engine

    roll_back(home, "calculator", one.gen_id)
    for manifest in (one, two):
        assert there.verify([_pin(manifest)]) == {manifest.gen_id: ""}
        with _opened(home, resolve(home.repository("calculator"), manifest.gen_id)) as generation:
            here, _ = _found(settings, None, generation)
            result, steps = _found(settings, there, generation)
            assert (sorted(_ids(result)), steps["vector_engine.search"]) == (sorted(_ids(here)), "completed")
            assert ("faiss.primary" in steps, result.notes) == (False, [])
            assert all(hit.gen_id == manifest.gen_id for hit in result.hits)
            narrow, _ = _found(settings, there, generation, Scope(paths=("tests/**",)))
            assert {hit.chunk.path for hit in narrow.hits} == {"tests/test_parser.py"}

    assert len(retention.sweep(home, settings, dry_run=True).vector_engine[0].generations) == 2
    assert len(there.kept("calculator")) == 4
    assert retention.sweep(home, settings).vector_engine[0].rows == 0  # the newest stays too, and has what `two` had
    assert there.kept("calculator").keys() == {one.gen_id, compacted.gen_id}
    roll_back(home, "calculator", compacted.gen_id)
    assert retention.sweep(home, settings).vector_engine[0].rows > 0
    assert "docs/guide.md" not in _rows(postgres, settings, one)
    assert len(_rows(postgres, settings, one)) == compacted.counts.embedded


def test_what_was_built_without_it_or_while_it_was_away_is_brought_there(
    home: Home, source: Repo, settings: Settings, there: VectorEngine, postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    without = build(home, settings.model_copy(update={"vector_engine": None}), "calculator")
    assert not without.vector_engine.is_there
    with _opened(home, without.gen_id) as generation:
        result, steps = _found(settings, there, generation)
    assert (steps["vector_engine.search"], steps["retrieve.dense"], result.notes) == ("skipped", "completed", [])
    away, asked_at = _away(settings), datetime(2026, 11, 21, 17, 5, tzinfo=UTC)
    hourly, daily = (Due("calculator", f"calculator@vector-engine@{at}") for at in ("20261121T17", "20261121"))
    assert watch.not_in_engine(home, settings, asked_at) == [hourly]
    with pytest.raises(VectorEngineUnavailable):
        watch.not_in_engine(home, away, asked_at)
    assert build(home, away, "calculator").gen_id == without.gen_id, "nothing can be added now"
    with run("build", None) as current:
        forced = build(home, away, "calculator", force=True)
    assert "does not answer" in forced.vector_engine.reason
    assert "hunter2" not in forced.model_dump_json()
    assert [step.status.value for step in current.steps if step.kind == "build.vector_engine"] == ["failed"]
    assert watch.not_in_engine(home, settings, asked_at) == [daily], "it was tried"
    brought = build(home, settings, "calculator")
    assert (brought.parent, brought.vector_engine.is_there) == (forced.gen_id, True)
    assert len(_rows(postgres, settings, brought)) == brought.counts.embedded
    assert watch.not_in_engine(home, settings, asked_at) == []
    there.delete("calculator", [brought.gen_id])  # somebody emptied the database
    assert _asked_for(home, settings, monkeypatch) == [brought.repo]
    once_more = build(home, settings, "calculator")
    assert once_more.gen_id != brought.gen_id
    assert there.kept("calculator").keys() == {once_more.gen_id}
    assert _asked_for(home, settings, monkeypatch) == []
    there.delete("calculator", [once_more.gen_id])
    assert watch.not_in_engine(home, settings, asked_at) == [hourly]
    source.commit({"src/more.py": "def more_numbers(text):\n    return text.split()\n"})
    mirror.refresh(home, "calculator")
    roll_back(home, "calculator", once_more.gen_id)
    assert watch.not_in_engine(home, settings, asked_at) == [], "a build would undo it"


def test_rows_that_were_lost_there_come_back_with_a_forced_build(
    home: Home, settings: Settings, there: VectorEngine, postgres: PostgresServer
) -> None:
    one = build(home, settings, "calculator")
    assert settings.vector_engine is not None
    with postgres.connect(settings.vector_engine.get_secret_value()) as connection:
        connection.execute(f"DELETE FROM codeintel_vectors_{one.contract_id} WHERE path LIKE 'docs/%'")
    assert "the vector engine holds" in there.verify([_pin(one)])[one.gen_id]
    again = build(home, settings, "calculator", force=True)
    assert there.verify([_pin(again)]) == {again.gen_id: ""}


def test_a_crash_costs_a_limit_and_not_an_answer(home: Home, settings: Settings, postgres: PostgresServer) -> None:
    now = [0.0]
    assert settings.vector_engine is not None
    engine = PostgresEngine(
        settings.vector_engine.get_secret_value(), exact_max=100, workers=1,
        breaker=Breaker(1, 5.0, clock=lambda: now[0]),
    )  # fmt: skip
    manifest = build(home, settings, "calculator")
    failed = elsewhere.SEARCHES.labels("failed")
    before = failed._value.get()
    with closing(engine), _opened(home, manifest.gen_id) as generation:
        assert engine.verify([_pin(manifest)]) == {manifest.gen_id: ""}
        healthy, _ = _found(settings, engine, generation)
        postgres.crash()
        try:
            for status in ("failed", "skipped"):  # the breaker is open then
                result, steps = _found(settings, engine, generation)
                assert sorted(_ids(result)) == sorted(_ids(healthy))
                assert (steps["vector_engine.search"], steps["retrieve.dense"]) == (status, "completed")
                assert "local indexes answered" in result.notes[0]
            assert failed._value.get() == before + 1
        finally:
            postgres.start()
        now[0] = 6.0
        ends = Deadline.after(60)
        while any(engine.verify([_pin(manifest)]).values()):  # one that runs in the background may be the probe
            ends.check("the way back")
        result, steps = _found(settings, engine, generation)
        assert (steps["vector_engine.search"], result.notes) == ("completed", [])


def test_what_is_not_published_after_all_is_taken_back(
    home: Home, settings: Settings, there: VectorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(*_: object) -> None:
        assert len(there.kept("calculator")) == 1, "it is there before anything points at it"
        raise PublishConflict("another one was faster")

    monkeypatch.setattr(release, "publish_shared", conflict)  # a rival in the moment between engine and pointer
    with pytest.raises(PublishConflict):
        build(home, settings, "calculator")
    assert there.kept("calculator") == {}


def test_a_purge_takes_it_out_before_it_is_dropped_here(
    home: Home, settings: Settings, there: VectorEngine, postgres: PostgresServer
) -> None:
    dirty = build(home, settings, "calculator")
    target = purge.target_of(home, text="", pattern="", repo="calculator", path="docs/guide.md", blob="")

    def rebuild(name: str) -> Manifest:
        return build(home, settings, name, force=True)

    with pytest.raises(VectorEngineUnavailable):
        purge.purge(home, _away(settings), target, rebuild=rebuild, is_dry=False)
    report = purge.purge(home, settings, target, rebuild=rebuild, is_dry=False)
    assert (report.left, report.generations["calculator"][0]) == ([], dirty.gen_id)
    assert dirty.gen_id not in there.kept("calculator")
    assert "docs/guide.md" not in {*_rows(postgres, settings, dirty)} != set()


def test_a_missing_driver_is_named_before_anything_is_built(
    home: Home, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)  # as where the extra is not installed
    with pytest.raises(VectorEngineUnavailable, match=r"pip install 'codeintel\[pgvector\]'"):
        build(home, settings, "calculator")
    assert not home.repository("calculator").staging.exists()
