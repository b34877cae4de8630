"""The build job on a real repository: what it publishes, what it reuses, and that incremental equals full."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from codeintel_core.home import Home
from codeintel_core.scope import Scope
from codeintel_core.telemetry import ledger
from codeintel_pipelines import runs
from tests.conftest import Repo
from tests.pipelines.conftest import FILES, add_and_build, opened, tables

pytestmark = pytest.mark.e2e


def _rows(home: Home, manifest, name: str, columns: list[str]) -> set[tuple]:
    table = pq.read_table(tables(home, manifest) / name, columns=columns)
    return set(zip(*(table[column].to_pylist() for column in columns), strict=True))


def test_first_build_publishes_everything(home: Home, source: Repo) -> None:
    manifest = add_and_build(home, source)
    assert manifest.commit == source.git("rev-parse", "HEAD")
    assert manifest.parent is None
    assert manifest.coverage == {"indexed": len(FILES)}
    counts = manifest.counts
    assert counts.chunks == counts.primary == counts.lucene > 0
    assert (counts.secondary, counts.tombstones) == (0, 0)
    generation = opened(home, manifest)
    for chunk in generation.catalog.sample_definitions(10):
        assert generation.matches_source(chunk)
    symbols = {name for (name,) in _rows(home, manifest, "symbols.parquet", ["name"])}
    assert {"tokenize_expression", "ExpressionParser", "parse_term", "WriteSnapshot"} <= symbols
    assert manifest.dagster_run_id
    assert ledger.find(home.ledger, manifest.dagster_run_id)
    kept = source.path  # the mirror pins the commit under a ref of the generation
    source.git(
        "--git-dir",
        str(home.repository("calculator").mirror),
        "rev-parse",
        f"refs/codeintel/generations/{manifest.gen_id}",
    )
    assert kept.exists()


def test_second_build_of_the_same_commit_publishes_nothing(home: Home, source: Repo) -> None:
    first = add_and_build(home, source)
    assert runs.build(home, "calculator").gen_id == first.gen_id
    assert len(list(home.repository("calculator").generations.iterdir())) == 1
    assert not list(home.repository("calculator").root.glob("staging/*"))


def test_incremental_equals_full_rebuild(home: Home, source: Repo) -> None:
    add_and_build(home, source)
    changed = FILES["src/parser.py"].replace("tokens.pop(0)", "tokens.pop()")
    source.commit({"src/parser.py": changed, "docs/guide.md": None, "src/extra.py": "def fresh_one():\n    return 1\n"})
    source.git("mv", "src/storage.go", "src/store.go")
    source.commit({}, "rename")
    incremental = add_and_build(home, source)
    full = runs.build(home, "calculator", force=True)
    assert incremental.parent is not None
    assert full.parent == incremental.gen_id
    for name, columns in (
        ("chunks.parquet", ["chunk_id", "path", "start_line", "end_line", "symbol", "text"]),
        ("symbols.parquet", ["path", "name", "role", "start_line", "chunk_id"]),
        ("files.parquet", ["path", "blob", "skip_reason", "chunks"]),
        ("embeddings.parquet", ["chunk_id", "text_key"]),
    ):
        assert _rows(home, incremental, name, columns) == _rows(home, full, name, columns), name
    a, b = opened(home, incremental), opened(home, full)
    assert a.dense.count == b.dense.count == full.counts.chunks
    assert a.lexical is not None
    assert b.lexical is not None
    assert a.lexical.count == b.lexical.count
    table = pq.read_table(tables(home, full) / "embeddings.parquet")
    for row in table.to_pylist():
        query = np.array(row["vector"], np.float32)
        found_a, found_b = a.dense.search(query, 5), b.dense.search(query, 5)
        assert found_a[0].tolist() == found_b[0].tolist()
        np.testing.assert_allclose(found_a[1], found_b[1], atol=1e-6)


def test_a_rename_costs_no_embedding_and_unchanged_files_keep_their_ids(home: Home, source: Repo) -> None:
    first = add_and_build(home, source)
    source.git("mv", "src/parser.py", "src/renamed_parser.py")
    source.commit({}, "rename")
    second = add_and_build(home, source)
    keys = {key for (key,) in _rows(home, second, "embeddings.parquet", ["text_key"])}
    assert keys == {key for (key,) in _rows(home, first, "embeddings.parquet", ["text_key"])}
    untouched = {row for row in _rows(home, first, "chunks.parquet", ["path", "chunk_id"]) if "parser" not in row[0]}
    assert untouched <= _rows(home, second, "chunks.parquet", ["path", "chunk_id"])
    assert not {row for row in _rows(home, second, "chunks.parquet", ["path"]) if row[0] == "src/parser.py"}


def test_skipped_files_are_counted_with_a_reason(home: Home, source: Repo) -> None:
    (source.path / "link").symlink_to("src/parser.py")
    source.commit({"logo.png": b"\x89PNG\0\0", "blank.py": "\n\n", "big.py": "x = 1\n" * 200_000, "näme.py": "y = 2\n"})
    manifest = add_and_build(home, source)
    assert manifest.coverage == {"indexed": len(FILES) + 1, "binary": 1, "empty": 1, "too_large": 1, "symlink": 1}


def test_the_steps_of_a_build_are_in_the_ledger(home: Home, source: Repo) -> None:
    manifest = add_and_build(home, source)
    ended = [line for line in ledger.read(home.ledger, manifest.dagster_run_id) if line["event"] == "end"]
    kinds = [line["kind"] for line in ended if line["kind"].startswith("build.")]
    assert set(kinds) == {"build.plan", "build.chunks", "build.embeddings", "build.dense", "build.lexical",
                          "build.sparse", "build.catalog", "build.publish"}  # fmt: skip
    skipped = {line["kind"]: line["reason"] for line in ended if line["status"] != "completed"}
    # The smoke queries are steps of the run as well.
    assert skipped == {
        "build.sparse": "not_configured", "retrieve.sparse": "not_configured", "retrieve.exact": "nothing quoted",
        "retrieve.cocitation": "not_promoted",
    }  # fmt: skip


def test_a_force_push_is_just_another_change(home: Home, source: Repo) -> None:
    add_and_build(home, source)
    source.git("checkout", "--quiet", "--orphan", "rewritten")
    source.commit({"src/storage.go": None}, "rewritten history")
    source.git("branch", "-M", "main")
    manifest = add_and_build(home, source)
    assert manifest.commit == source.git("rev-parse", "HEAD")
    generation = opened(home, manifest)
    assert generation.catalog.file("src/storage.go") is None
    assert generation.catalog.allowed_ids(Scope(paths=("src/storage.go",))).size == 0
