"""The sparse index of a generation: incremental equals full, another model rebuilds only it, none is no failure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.plain_build import build as plain_build
from codeintel_core.embedding.sparse import local
from codeintel_core.embedding.sparse.select import sparse_contract_for
from codeintel_core.errors import RetrievalUnavailable
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.retrieval.modes import Mode
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings, get_settings
from codeintel_pipelines.build.sparse import FOLDER, IMPACTS, LUCENE
from tests import tiny_splade
from tests.conftest import Repo
from tests.fake_endpoint import FakeEndpoint, said
from tests.pipelines.conftest import FILES, add_and_build, opened, tables

pytestmark = pytest.mark.e2e


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_splade.write_model(tmp_path / "tiny-splade")


@pytest.fixture
def settings(home: Home, model: Path, source: Repo) -> Settings:
    mirror.add(home, str(source.path), name="calculator")
    return Settings(home=home.root, sparse_model_dir=model, retrieval_budget_ms=30_000)


def _found(home: Home, settings: Settings, manifest: Manifest, query: str) -> list[tuple[str, float]]:
    contract = sparse_contract_for(settings)
    assert contract is not None
    assert settings.sparse_model_dir is not None
    encoder = local.LocalSparseEncoder(settings.sparse_model_dir, home.models, contract)
    engine = SearchEngine(settings, lambda: pytest.fail("no dense search"), sparse_encoder=lambda: encoder)
    generation = opened(home, manifest)
    try:
        found = engine.search(query, [generation], scope=Scope(), limit=20, mode=Mode.SPARSE)
        return sorted((hit.chunk.symbol or hit.chunk.path, hit.channels["sparse"].score) for hit in found.hits)
    finally:
        engine.close()


def _linked(home: Home, one: Manifest, other: Manifest, name: str) -> bool:
    return (tables(home, one) / name).samefile(tables(home, other) / name)


def _impacts(home: Home, manifest: Manifest) -> list[dict[str, object]]:
    table = pq.read_table(tables(home, manifest) / FOLDER / IMPACTS)
    return table.sort_by("chunk_id").to_pylist()


def _count_encoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    encode: Callable[..., object] = local.LocalSparseEncoder.encode_documents

    def counted(self: object, texts: list[str]) -> object:
        seen.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(local.LocalSparseEncoder, "encode_documents", counted)  # the real one, counted
    return seen


def test_incremental_equals_a_full_rebuild_and_encodes_what_changed(
    home: Home, source: Repo, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = _count_encoded(monkeypatch)
    first = plain_build(home, settings, "calculator")
    assert first.sparse.documents == first.counts.chunks
    assert first.sparse.contract == sparse_contract_for(settings)
    assert f"{FOLDER}/{IMPACTS}" in first.files  # its digest is checked like any other's
    assert "tokenize_expression" in dict(_found(home, settings, first, "split"))  # by its synonym
    encoded = len(seen)
    changed = FILES["src/parser.py"].replace("tokens.pop(0)", "write(journal)")
    source.commit({"src/parser.py": changed, "docs/guide.md": None})
    source.git("mv", "src/storage.go", "src/store.go")
    source.commit({}, "rename")
    incremental = plain_build(home, settings, "calculator")
    assert 0 < len(seen) - encoded < encoded  # the rename costs nothing
    assert 0 < incremental.reuse["sparse_added"] < incremental.sparse.documents
    encoded = len(seen)
    full = plain_build(home, settings, "calculator", force=True)
    compact = plain_build(home, settings, "calculator", compact=True)
    assert len(seen) == encoded
    for other in (full, compact):
        assert _impacts(home, incremental) == _impacts(home, other)
        for query in ("split", "persist journal", "parser expression term"):
            assert _found(home, settings, incremental, query) == _found(home, settings, other, query) != []


def test_another_model_rebuilds_the_sparse_part_only(home: Home, source: Repo, settings: Settings, model: Path) -> None:
    without = plain_build(home, settings.model_copy(update={"sparse_model_dir": None}), "calculator")
    assert without.sparse.reason == "not_configured"
    first = plain_build(home, settings, "calculator")
    tiny_splade.write_model(model, {"split": "guide"})
    second = plain_build(home, settings, "calculator")
    assert len({without.gen_id, first.gen_id, second.gen_id}) == 3
    assert without.commit == first.commit == second.commit
    assert first.sparse.contract != second.sparse.contract
    for one, other in ((without, first), (first, second)):
        assert _linked(home, one, other, "dense/primary.faiss")
        segments = sorted(path.name for path in (tables(home, one) / "lucene").glob("*.cfs"))
        assert segments
        assert all(_linked(home, one, other, f"lucene/{name}") for name in segments)
    assert _found(home, settings, second, "split")
    with pytest.raises(RetrievalUnavailable, match="sparse contract differs in revision"):
        _found(home, settings, first, "split")
    assert plain_build(home, settings, "calculator").gen_id == second.gen_id  # nothing to do
    segments = list((tables(home, first) / FOLDER / LUCENE).glob("*.cfs"))
    assert not any((tables(home, second) / FOLDER / LUCENE / path.name).samefile(path)
                   for path in segments if (tables(home, second) / FOLDER / LUCENE / path.name).exists())  # fmt: skip


def test_a_model_that_does_not_answer_is_no_failure_and_is_made_up_for(
    home: Home, source: Repo, settings: Settings
) -> None:
    broken = {"/embed_sparse": said({"error": "down", "error_type": "Unhealthy"}, 503)}
    with FakeEndpoint(dict(broken)) as fake:
        remote = settings.model_copy(
            update={"sparse_model_dir": None, "sparse_base_url": fake.url, "sparse_model": "splade"}
        )
        first = plain_build(home, remote, "calculator")
        assert first.sparse.reason.startswith("failed: the sparse endpoint")
        assert not (tables(home, first) / FOLDER).exists()
        assert plain_build(home, remote, "calculator").gen_id == first.gen_id  # nothing can be added yet
        fake.routes["/embed_sparse"] = lambda request: said(
            [[{"index": len(text) % 50, "value": 1.0}] for text in request.body["inputs"]]
        )
        second = plain_build(home, remote, "calculator")
    assert (second.commit, second.sparse.reason) == (first.commit, "")
    assert second.sparse.documents == second.counts.chunks


def test_many_texts_wait_for_a_later_build(home: Home, source: Repo, settings: Settings) -> None:
    eager = settings.model_copy(update={"lexical_first_texts": 2})
    first = plain_build(home, eager, "calculator")
    assert first.sparse.reason == "pending"
    assert first.is_pending
    second = plain_build(home, eager, "calculator")
    assert second.sparse.is_there
    assert not second.is_pending


def test_the_dagster_job_builds_it_too(home: Home, source: Repo, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_SPARSE_MODEL_DIR", str(model))
    get_settings.cache_clear()
    manifest = add_and_build(home, source)
    assert manifest.sparse.documents == manifest.counts.chunks
    assert "splade_index" in manifest.asset_keys
