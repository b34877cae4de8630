"""Compaction merges the indexes of the served commit beside it; nothing is embedded, answers equal a full rebuild's."""

from __future__ import annotations

from typing import Any

import dagster as dg
import numpy as np
import pyarrow.parquet as pq
import pytest

from codeintel_core.analysis import query_terms
from codeintel_core.deadline import Deadline
from codeintel_core.errors import BuildFailed, PublishConflict
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id, point_at
from codeintel_core.home import Home
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import ledger
from codeintel_pipelines import runs, watch
from codeintel_pipelines.build import lease, release
from codeintel_pipelines.definitions import defs
from codeintel_pipelines.stages import SKIPPED_TAG
from tests.conftest import Repo
from tests.pipelines.conftest import FILES, add_and_build, opened, tables

pytestmark = pytest.mark.e2e


def _changed(home: Home, source: Repo) -> Manifest:
    """A generation with a secondary, tombstones and two Lucene segments."""
    add_and_build(home, source)
    changed = FILES["src/parser.py"].replace("tokens.pop(0)", "tokens.pop()")
    source.commit({"src/parser.py": changed, "src/extra.py": "def fresh_one():\n    return 1\n"})
    manifest = add_and_build(home, source)
    assert manifest.counts.secondary and manifest.counts.tombstones
    return manifest


def _answers(generation: Generation, home: Home, manifest: Manifest) -> list[object]:
    """Dense hits for every vector, and lexical hits with scores for every symbol."""
    assert generation.lexical is not None
    searcher = LexicalSearcher([generation.lexical])
    rows = pq.read_table(tables(home, manifest) / "embeddings.parquet").to_pylist()
    found: list[object] = [generation.dense.search(np.array(row["vector"], np.float32), 5)[0].tolist() for row in rows]
    for name in ("tokenize_expression", "parse_term", "WriteSnapshot", "fresh_one", "guide install parser"):
        terms = [(term, 1.0) for term in query_terms(name)]
        ids, scores = searcher.search(terms, 20, Scope(), Deadline.after(30))
        found.append((ids.tolist(), scores.tolist()))
    return found


def _skip_reasons(home: Home) -> list[str]:
    with runs.instance(home) as instance:
        return [run.tags[SKIPPED_TAG] for run in instance.get_runs() if SKIPPED_TAG in run.tags]


def test_a_compacted_generation_equals_a_full_rebuild(home: Home, source: Repo) -> None:
    before = _changed(home, source)
    compacted, reason = runs.compact(home, "calculator")
    assert reason == ""
    assert (compacted.commit, compacted.parent) == (before.commit, before.gen_id)
    counts = compacted.counts
    assert (counts.secondary, counts.tombstones, counts.primary, counts.lucene) == (0, 0, counts.chunks, counts.chunks)
    folders = [home.repository("calculator").generation(m.gen_id) for m in (before, compacted)]
    for table in ("chunks", "symbols", "embeddings"):
        (part,) = (folders[0] / f"{table}.parquet").iterdir()
        assert part.samefile(folders[1] / part.relative_to(folders[0]))
    assert not (folders[1] / "catalog_overlay.duckdb").exists()
    again, _ = runs.compact(home, "calculator")
    assert again.gen_id == compacted.gen_id  # there is nothing left to merge
    full = runs.build(home, "calculator", force=True)
    a, b = opened(home, compacted), opened(home, full)
    assert _answers(a, home, compacted) == _answers(b, home, full)
    lines = ledger.read(home.ledger, compacted.dagster_run_id)
    (embedding,) = [line for line in lines if line["event"] == "end" and line["kind"] == "build.embeddings"]
    assert embedding["attributes"]["computed"] == 0


def test_one_of_two_at_once_wins_and_the_other_is_skipped_with_the_reason(home: Home, source: Repo) -> None:
    before = _changed(home, source)
    at = home.repository("calculator")
    with runs.instance(home) as instance:
        other = instance.create_run_for_job(defs.resolve_job_def("compact_repository")).run_id
    lease.acquire(at, other, lambda _: False)
    manifest, reason = runs.compact(home, "calculator")  # the run ends as a success
    assert manifest.gen_id == before.gen_id == current_id(at)
    assert f"is being built by run {other[:8]}" in reason
    assert _skip_reasons(home) == [reason]
    with runs.instance(home) as instance:
        ended = [run for run in instance.get_runs() if run.run_id != other]
    assert {run.status for run in ended} == {dg.DagsterRunStatus.SUCCESS}
    assert any('"skipped"' in path.read_text() for path in ledger.newest(home.ledger, 9))
    lease.release(at, other)
    assert runs.compact(home, "calculator")[1] == ""


def test_a_pointer_that_moved_meanwhile_is_left_alone(
    home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _changed(home, source)
    at = home.repository("calculator")
    verified = release.verify.citations_match_source

    def roll_back_meanwhile(*arguments: Any) -> object:
        point_at(at, str(before.parent))
        return verified(*arguments)

    monkeypatch.setattr(release.verify, "citations_match_source", roll_back_meanwhile)  # a moment nothing else can hit
    manifest, reason = runs.compact(home, "calculator")
    assert manifest.gen_id == before.parent == current_id(at)
    assert "now serves" in reason
    assert not at.staging.exists()
    assert not at.lease.exists()
    point_at(at, before.gen_id)
    source.commit({"src/more.py": "def more():\n    return 2\n"})
    with pytest.raises(PublishConflict, match="now serves"):  # a build that was asked for says so
        runs.build(home, "calculator")


def test_what_cannot_be_merged_is_refused_and_keeps_serving(home: Home, source: Repo) -> None:
    before = _changed(home, source)
    with (tables(home, before) / "chunks.parquet/part-0000.parquet").open("ab") as file:
        file.write(b"junk")
    with pytest.raises(BuildFailed, match="codeintel build calculator"):
        runs.compact(home, "calculator")
    assert current_id(home.repository("calculator")) == before.gen_id


def test_what_is_due_follows_the_served_manifest(home: Home, source: Repo) -> None:
    settings = runs_settings(home)
    before = _changed(home, source)
    assert [due.run_key for due in watch.outgrown(home, settings)] == [f"compact@{before.gen_id}"]
    assert watch.outgrown(home, settings.model_copy(update={"compaction_ratio": 9.0})) == []
    assert [due.partition for due in watch.not_compact(home)] == ["calculator"]
    runs.compact(home, "calculator")
    assert watch.outgrown(home, settings) == watch.not_compact(home) == []


def runs_settings(home: Home) -> Settings:
    """The settings of a run in this home."""
    from codeintel_pipelines.resources import HomeResource

    return HomeResource(root=str(home.root)).settings
