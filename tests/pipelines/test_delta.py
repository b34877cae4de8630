"""Delta tables: the same rows as the truth, no version without a change, time travel, an end to old files."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from polars.testing import assert_frame_equal

from benchmarks import fake_encoder, plain_build
from codeintel_core.errors import InvalidRequest, NotIndexed, StorageFailed
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_core.traces.record import AnswerTrace, TraceJournal
from codeintel_pipelines import delta, retention, runs
from codeintel_pipelines.definitions import defs
from codeintel_pipelines.defs.delta.assets import answer_traces_delta, chunks_delta
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.purge import purge
from codeintel_pipelines.resources import HomeResource
from tests.conftest import Repo

_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _asked(home: Home, *queries: str, at: datetime = _AT) -> None:
    journal = TraceJournal(home.trace_journal)
    for number, query in enumerate(queries):
        trace = AnswerTrace(
            run_id=f"run-{query}", session_id="", otel_trace_id="t", operation="search", surface="rest",
            asked_at=at + timedelta(seconds=number), query=query, scope="{}", mode="hybrid", retrieval_budget_ms=400,
            total_budget_ms=2000, latency_ms={"total": 1.5}, limits=["cut"],
        )  # fmt: skip
        assert journal.write(trace)
    journal.close()
    tables.compact(tables.traces(home), f"{at:%Y-%m-%d}")


def _traces(home: Home, days: int = 30) -> delta.Exported:
    return delta.export_traces(home, "run-of-the-export", keep_days=days)


def _queries(home: Home, version: int | None = None) -> list[str]:
    found = pl.read_delta(str(home.delta_traces), version=version)
    return sorted(found["query"].to_list())


def _stored(home: Home) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in tables.traces(home).files()]).sort("trace_id")


def test_traces_come_back_as_they_are_to_polars_and_duckdb(home: Home) -> None:
    assert _traces(home).rows == 0
    _asked(home, "a", "b")
    _asked(home, "c", at=_AT + timedelta(days=1))
    assert _traces(home).written == ["2026-01-02", "2026-01-03"]
    scanned = pl.scan_delta(str(home.delta_traces)).sort("trace_id").collect()
    assert_frame_equal(scanned.drop("day"), _stored(home))
    files = DeltaTable(home.delta_traces).file_uris()
    query = (
        "SELECT query, latency_ms['total'], limits, day FROM read_parquet(?, hive_partitioning = true) ORDER BY query"
    )
    found = duckdb.execute(query, [files]).fetchall()
    assert found == [(one, 1.5, ["cut"], date(2026, 1, 3 if one == "c" else 2)) for one in "abc"]


def test_a_version_for_what_changed_and_none_for_the_same_input(home: Home) -> None:
    _asked(home, "a")
    first = _traces(home)
    _asked(home)  # compacted again: the same bytes
    assert _traces(home).version == first.version
    _asked(home, "late")
    second = _traces(home)
    assert (second.version, second.written, second.rows) == (first.version + 1, ["2026-01-02"], 2)
    assert _queries(home, first.version) == ["a"]
    assert _queries(home) == ["a", "late"]
    (last,) = DeltaTable(home.delta_traces).history(1)
    assert {"days": "2026-01-02", "exported_by": "run-of-the-export"}.items() <= last.items()


def test_the_example_of_the_documentation_runs(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs/analytics.md").read_text()
    (example,) = [text for text in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "deltalake" in text]
    _asked(home, "a", "b")
    _traces(home)
    _asked(home, "c")
    _traces(home)
    exec(example.replace(".codeintel", str(home.root)), {})
    said = capsys.readouterr().out
    assert "[(3,)]" in said
    assert "1 2026-01-02 run-of-the-export" in said
    assert said.endswith("\n2\n")


def test_days_that_retention_took_are_deleted_and_vacuumed(home: Home) -> None:
    _asked(home, "old")
    _asked(home, "new", at=_AT + timedelta(days=9))
    before = _traces(home).version
    tables.expire(tables.traces(home), date(2026, 1, 5))
    assert _traces(home).written == ["2026-01-02"]
    after = _traces(home)
    assert (after.written, _queries(home), _queries(home, before)) == ([], ["new"], ["new", "old"])
    settings = Settings(home=home.root)
    assert retention.sweep(home, settings).delta_files == [], "versions of the last days can be read"
    (old,) = delta.vacuum(home, keep_days=0, dry_run=True)
    assert (home.root / old).exists()
    assert delta.vacuum(home, keep_days=0) == [old]
    assert not (home.root / old).exists()
    version = DeltaTable(home.delta_traces).version()
    assert delta.vacuum(home, keep_days=0) == []
    assert DeltaTable(home.delta_traces).version() == version, "nothing to remove is no version"
    assert (_queries(home), _traces(home).written) == (["new"], [])


def test_a_table_of_another_schema_is_written_anew(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    _asked(home, "a")
    now = tables.schemas.ANSWER_TRACES
    with monkeypatch.context() as then:
        then.setattr("codeintel_core.schemas.TRACE_SCHEMA_VERSION", 2)
        then.setattr("codeintel_core.schemas.ANSWER_TRACES", now.remove(now.get_field_index("candidates")))
        old = _traces(home).version
    tables.compact(tables.traces(home), "2026-01-02")
    assert _traces(home).written == ["2026-01-02"]
    assert "candidates" in pl.read_delta(str(home.delta_traces)).columns
    assert "candidates" not in pl.read_delta(str(home.delta_traces), version=old).columns


def test_what_cannot_be_read_says_which_table_and_what_to_do(home: Home) -> None:
    _asked(home, "a")
    _traces(home)
    log = next((home.delta_traces / "_delta_log").glob("*.json"))
    log.write_text("{")
    with pytest.raises(StorageFailed, match=r"delta/answer_traces cannot be read or written .* remove its folder"):
        _traces(home)


@pytest.fixture
def built(home: Home, source: Repo) -> Manifest:
    """A generation of the repository `calculator`."""
    mirror.add(home, str(source.path), name="calculator")
    return _build(home)


def _build(home: Home) -> Manifest:
    with fake_encoder.used_by_builds():
        return plain_build.build(home, Settings(home=home.root), "calculator")


def _chunks_of(home: Home, manifest: Manifest) -> pl.DataFrame:
    folder = home.repository("calculator").generation(manifest.gen_id)
    table = pl.from_arrow(pq.read_table(folder / "chunks.parquet"))
    assert isinstance(table, pl.DataFrame)
    return table.sort("chunk_id")


def _materialize(asset: dg.AssetsDefinition, home: Home, partition: str | None) -> Mapping[str, Any]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(repositories.name), ["calculator"])
        resources = {"home": HomeResource(root=str(home.root))}
        done = dg.materialize([asset], instance=instance, resources=resources, partition_key=partition)
        (event,) = done.get_asset_materialization_events()
        return {name: entry.value for name, entry in event.materialization.metadata.items()}


@pytest.mark.e2e
def test_each_generation_is_a_version_that_names_it(home: Home, source: Repo, built: Manifest) -> None:
    one = _materialize(chunks_delta, home, "calculator")
    assert (one["written"], one["dagster/row_count"]) == (built.gen_id, built.counts.chunks)
    again = _materialize(chunks_delta, home, "calculator")
    assert (again["is_new_version"], again["delta_version"]) == (False, one["delta_version"])
    source.commit({"src/more.py": "def more():\n    return 1\n", "docs/guide.md": None})
    second = _build(home)
    delta.export_chunks(home, "calculator", "x", keep_days=30)
    path = str(home.delta_chunks("calculator"))
    for manifest in (built, second):
        (entry,) = [entry for entry in DeltaTable(path).history() if entry["gen_id"] == manifest.gen_id]
        assert (entry["commit"], entry["dagster_run_id"]) == (manifest.commit, manifest.dagster_run_id)
        found = pl.read_delta(path, version=entry["version"]).sort("chunk_id")
        assert_frame_equal(found, _chunks_of(home, manifest))


@pytest.mark.e2e
def test_a_purge_takes_the_versions_along(home: Home, source: Repo, built: Manifest) -> None:
    delta.export_chunks(home, "calculator", "x", keep_days=30)
    _asked(home, "where is WriteSnapshot persisted")
    _traces(home)
    target = purge.target_of(home, text="WriteSnapshot", pattern="", repo="", path="", blob="")
    report = purge.purge(
        home, Settings(home=home.root), target, text="WriteSnapshot", rebuild=lambda _: _build(home), is_dry=False
    )
    assert report.left == []
    assert delta.found(home) == []
    assert _traces(home).rows == 1
    assert _queries(home) == ["where is ************* persisted"]


@pytest.mark.e2e
def test_without_the_extra_the_assets_say_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    for asset, partition in ((chunks_delta, "calculator"), (answer_traces_delta, None)):
        shown = _materialize(asset, home, partition)
        assert shown == {"skipped": "not_configured", "to_configure": delta.HOW} | {
            name: shown[name] for name in shown if name.startswith("dagster/")
        }
    with pytest.raises(InvalidRequest, match=re.escape(delta.HOW)):
        runs.export(home)
    assert not home.delta.exists()


def test_a_repository_without_a_generation_is_named(home: Home, source: Repo) -> None:
    mirror.add(home, str(source.path), name="calculator")
    with pytest.raises(NotIndexed, match="codeintel build calculator"):
        delta.export_chunks(home, "calculator", "x", keep_days=30)
    assert not Path(home.delta).exists()


@pytest.mark.e2e
def test_what_was_published_or_compacted_is_exported_by_the_sensor() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(str(repositories.name), ["calculator", "twin"])
        before = dg.evaluate_automation_conditions(defs=defs, instance=instance)
        for asset, partition in (("generation", "calculator"), ("answer_traces", "2026-01-02")):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))
        after = dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=before.cursor)
    assert before.total_requested == 0
    assert after.get_requested_partitions(dg.AssetKey("chunks_delta")) == {"calculator"}
    assert after.get_num_requested(dg.AssetKey("answer_traces_delta")) == 1
