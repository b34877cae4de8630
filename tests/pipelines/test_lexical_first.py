"""Lexical first: a repository whose vectors take long is searchable at once, says so, and is completed later."""

from __future__ import annotations

import pytest

from benchmarks import fake_encoder, plain_build
from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.generations import manifest as manifests
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings, get_settings
from codeintel_pipelines import runs, watch
from codeintel_pipelines.build import parts, vectors
from tests.conftest import Repo
from tests.pipelines.conftest import add_and_build, opened

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two texts already count as much."""
    monkeypatch.setenv("CODEINTEL_LEXICAL_FIRST_TEXTS", "2")
    get_settings.cache_clear()


def _history(home: Home) -> list[manifests.Manifest]:
    return [manifests.load(path) for path in sorted(home.repository("calculator").generations.iterdir())]


def test_one_build_publishes_lexical_then_definitions_then_everything(home: Home, source: Repo) -> None:
    last = add_and_build(home, source)
    first, second, third = _history(home)
    assert third == last
    assert first.counts.embedded == 0
    assert first.counts.lucene == first.counts.chunks == third.counts.chunks
    assert 0 < second.counts.embedded < second.counts.chunks
    assert third.counts.embedded == third.counts.chunks
    assert first.commit == second.commit == third.commit
    embedded = set(opened(home, second).dense.primary.ids.tolist())
    named = opened(home, second).catalog.hydrate(sorted(embedded), Scope())
    assert {chunk.file_class for chunk in named.values()} == {"source"}


@pytest.mark.parametrize(("limit", "is_pending"), [(20, True), (10_000, False)])
def test_all_groups_of_chunks_are_decided_together(
    home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch, limit: int, is_pending: bool
) -> None:
    """Each group alone would be encoded at once."""
    source.commit({f"src/m{number}.py": f"def part_{number}(rows):\n    return rows\n" for number in range(300)})
    mirror.add(home, str(source.path), name="calculator")
    monkeypatch.setattr(vectors, "_CHUNKS_AT_ONCE", 10)
    monkeypatch.setattr(parts, "_CHUNKS_PER_PART", 8)
    with fake_encoder.used_by_builds():
        settings = Settings(home=home.root, lexical_first_texts=limit)
        counts = plain_build.build(home, settings, "calculator").counts
    assert counts.embedded == (0 if is_pending else counts.chunks)


def test_a_pending_generation_answers_and_the_next_build_completes_it(
    home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_LATER", ())  # as if the process had died after the first run
    pending = add_and_build(home, source)
    assert pending.counts.is_dense_pending
    encoder = LocalEncoder(home.models, "int8")
    engine = SearchEngine(get_settings().model_copy(update={"retrieval_budget_ms": 30_000}), lambda: encoder)
    result = engine.search("tokenize_expression", [opened(home, pending)], scope=Scope(), limit=3)
    assert result.hits[0].chunk.name == "tokenize_expression"
    due = watch.heads(home, get_settings(), {}, 0.0).due
    assert [d.partition for d in due] == ["calculator"]  # the sensor completes it too
    assert not runs.build(home, "calculator").counts.is_dense_pending
    assert watch.heads(home, get_settings(), {}, 0.0).due == []
