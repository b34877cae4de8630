"""The vector engine as the server shows it: ready, in `status` and in `doctor`; and a server that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from calling import call
from pydantic import SecretStr
from workshop import Workshop, settings_for

from codeintel_core.embedding.text import embedded_text
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import EngineFacts
from codeintel_core.settings import Settings
from codeintel_core.vector_engine.protocol import Pin, State
from codeintel_core.vector_engine.rows import SCOPED, keys_of
from codeintel_core.vector_engine.select import engine_for
from codeintel_serving import diagnosis
from codeintel_serving.models import SearchRequest, SearchResponse
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.e2e

_AWAY = "postgresql://nobody:hunter2@127.0.0.1:1/none"


@pytest.fixture
def url(postgres: PostgresServer, tmp_path: Path) -> str:
    return postgres.database(tmp_path.name)


def _bring(workshop: Workshop, settings: Settings) -> None:
    """Publish what `shop` serves into the engine, and say so in its manifest, as a build does."""
    repository = workshop.home.repository("shop")
    (folder,) = repository.generations.glob("*")
    manifest = manifests.load(folder)
    chunks = pq.read_table(folder / "chunks.parquet", columns=[*SCOPED, "text", "symbol"])
    texts = map(embedded_text, chunks["text"].to_pylist(), chunks["symbol"].to_pylist())
    vectors = workshop.encoder.encode_documents(list(texts))
    rows = chunks.select(list(SCOPED)).append_column("text_key", pa.array([""] * len(vectors)))
    rows = rows.append_column("vector", pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]))
    rows = rows.append_column("key", pa.array(keys_of(rows)))
    state, engine = State.of(rows["key"].to_numpy()), engine_for(settings)
    assert engine is not None
    with closing(engine):
        engine.publish(Pin("shop", manifest.gen_id, manifest.contract, state), None, None, lambda: iter([rows]))
    facts = EngineFacts(count=state.count, digest=state.digest, reason="")
    manifests.save(folder, manifest.model_copy(update={"vector_engine": facts}))


@pytest.fixture
def wired(workshop: Workshop, url: str) -> Iterator[Services]:
    settings = settings_for(workshop.home, vector_engine=url)
    _bring(workshop, settings)
    with Services(settings, encoder=lambda: workshop.encoder) as services:
        services.warm()
        yield services


def _search(services: Services) -> SearchResponse:
    return services.search(SearchRequest(query="how is a record appended durably"), Caller("rest"))


def _said_of_it(found: SearchResponse) -> list[str]:
    return [warning for warning in found.warnings if "vector engine" in warning]


def test_a_server_that_holds_everything_is_ready_and_says_where_it_searched(wired: Services) -> None:
    ready = readiness(wired)
    assert (ready.state, ready.checks["vector_engine"].status) == ("ready", "ok")
    found = _search(wired)
    steps = {stage.name: stage.status for stage in found.stages}
    assert (steps["vector_engine.search"], _said_of_it(found)) == ("completed", [])
    assert "faiss.primary" not in steps
    assert found.results[0].symbol == "JournalWriter"
    (state,) = call(wired, "status").repositories
    assert state.vector_engine.endswith(" vectors in postgresql")


def test_a_server_that_is_away_is_named_and_costs_no_answer(wired: Services, workshop: Workshop) -> None:
    away = wired.settings.model_copy(update={"vector_engine": SecretStr(_AWAY)})
    expected = [hit.id for hit in _search(wired).results]
    with Services(away, encoder=lambda: workshop.encoder) as services:
        services.warm()
        ready = readiness(services)
        found, (state,) = _search(services), call(services, "status").repositories
    assert ready.state == "degraded"
    assert "local indexes answer" in ready.checks["vector_engine"].reason
    assert [hit.id for hit in found.results] == expected
    assert "local indexes answered" in _said_of_it(found)[0]
    assert "does not answer" in state.vector_engine
    said = f"{ready.model_dump_json()}{found.model_dump_json()}{state.model_dump_json()}{away!r}"
    assert "hunter2" not in said


def test_what_it_does_not_hold_is_a_degraded_check(wired: Services, workshop: Workshop, url: str) -> None:
    engine = wired.vector_engine
    assert engine is not None
    engine.delete("shop", engine.kept("shop"))
    with Services(wired.settings, encoder=lambda: workshop.encoder) as services:
        services.warm()
        ready, found = readiness(services), _search(services)
    assert ready.checks["vector_engine"].status == "degraded"
    assert "is not in the vector engine" in ready.checks["vector_engine"].reason
    assert "is not in the vector engine" in _said_of_it(found)[0]


def test_a_command_which_verifies_nothing_says_what_the_engine_says(wired: Services, workshop: Workshop) -> None:
    def said(settings: Settings) -> tuple[str, str]:
        with Services(settings, encoder=lambda: workshop.encoder) as command:
            (state,) = call(command, "status").repositories
            return state.vector_engine, readiness(command).checks["vector_engine"].reason

    text, problem = said(wired.settings)
    assert (text.partition(" vectors in ")[2], problem) == ("postgresql (a server counts them before it asks)", "")
    engine = wired.vector_engine
    assert engine is not None
    engine.delete("shop", engine.kept("shop"))
    assert all(what.endswith("is not in the vector engine") for what in said(wired.settings))
    away = wired.settings.model_copy(update={"vector_engine": SecretStr(_AWAY)})
    assert all("the vector engine does not answer" in what for what in said(away))


def test_doctor_names_versions_or_the_fix(url: str, wired: Services) -> None:
    (found,) = [one for one in diagnosis.examine(wired.settings) if one.name == "vector engine"]
    assert (found.ok, found.detail.split(",")[1]) == (True, " pgvector 0.8.5")
    away = wired.settings.model_copy(update={"vector_engine": SecretStr(_AWAY)})
    (found,) = [one for one in diagnosis.examine(away) if one.name == "vector engine"]
    assert not found.ok
    assert "port 1 failed" in found.detail
    assert "CODEINTEL_VECTOR_ENGINE" in found.line
    assert "hunter2" not in found.line


def test_nothing_is_asked_or_said_without_the_setting(workshop: Workshop) -> None:
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services:
        services.warm()
        found, (state,) = _search(services), call(services, "status").repositories
        assert "vector_engine" not in readiness(services).checks
    assert not any(stage.name.startswith("vector_engine") for stage in found.stages)
    assert (state.vector_engine, _said_of_it(found)) == ("", [])
