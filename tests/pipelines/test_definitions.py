"""The Dagster code location: its lineage, gates and jobs are what the documentation says, and it loads cheaply."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

from codeintel_pipelines.analytics.database import reports
from codeintel_pipelines.definitions import defs
from codeintel_pipelines.defs.jobs import FRESHNESS

ROOT = Path(__file__).parents[2]
LINEAGE = {
    "repository_head": set(),
    "source_files": {"repository_head"},
    "chunks": {"source_files"},
    "symbols": {"source_files"},
    "embeddings": {"chunks"},
    "faiss_primary": {"embeddings"},
    "faiss_secondary": {"faiss_primary"},
    "lucene_index": {"chunks"},
    "splade_index": {"chunks"},
    "catalog": {"chunks", "symbols"},
    "generation": {
        "chunks", "symbols", "embeddings", "faiss_primary", "faiss_secondary", "lucene_index",
        "splade_index", "catalog",
    },
    "golden_queries": {"generation"},
    "retrieval_evaluation": {"golden_queries"},
    "trace_journal": set(),
    "feedback_journal": set(),
    "answer_traces": {"trace_journal"},
    "answer_feedback": {"feedback_journal"},
    "chunks_delta": {"generation"},
    "answer_traces_delta": {"answer_traces"},
    **{report.name: {"answer_traces", "answer_feedback"} for report in reports()},
    "tuning_proposal": {"answer_traces", "answer_feedback", "golden_queries"},
    "tuning": {"tuning_proposal"},
    "analytics_database": {report.name for report in reports()},
}  # fmt: skip
BLOCKING = {
    "chunks": {"unique_ids", "spans_inside_files", "files_covered"},
    "embeddings": {"vectors_follow_contract"},
    "faiss_secondary": {"dense_adds_up"},
    "lucene_index": {"lucene_finds_identifiers"},
    "splade_index": {"sparse_finds_itself"},
    "catalog": {"catalog_adds_up"},
    "generation": {"smoke_queries", "citations_match_source"},
    "answer_traces": {"no_row_lost"},
    "answer_feedback": {"no_row_lost"},
}
ADVISORY = {
    dg.AssetCheckKey(dg.AssetKey("retrieval_evaluation"), "no_worse_than_served"),
    dg.AssetCheckKey(dg.AssetKey("answer_traces"), "rows_on_time"),
    dg.AssetCheckKey(dg.AssetKey("answer_traces"), "machines_arrived"),
    dg.AssetCheckKey(dg.AssetKey("answer_feedback"), "rows_on_time"),
    dg.AssetCheckKey(dg.AssetKey("answer_feedback"), "machines_arrived"),
    dg.AssetCheckKey(dg.AssetKey("tuning_proposal"), "helps_later_sessions"),
    dg.AssetCheckKey(dg.AssetKey("tuning_proposal"), "pairs_help_later_sessions"),
    FRESHNESS,
}
BUILT = {"chunks", "embeddings", "faiss_secondary", "lucene_index", "splade_index", "catalog", "generation"}
JOBS = (
    "build_repository", "compact_repository", "compact_traces", "refresh_analytics", "evaluate_retrieval",
    "check_freshness", "collect_garbage", "learn_from_traces", "export_chunks", "export_traces",
)  # fmt: skip


def test_lineage() -> None:
    graph = defs.resolve_asset_graph()
    found = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert found == LINEAGE


def test_every_gate_is_blocking() -> None:
    graph = defs.resolve_asset_graph()
    found: dict[str, set[str]] = {}
    for key in graph.asset_check_keys - ADVISORY:
        assert graph.get(key).blocking, key
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert found == BLOCKING


def test_jobs_run_in_process() -> None:
    for name in JOBS:
        assert defs.resolve_job_def(name).executor_def is dg.in_process_executor


def test_building_and_compacting_run_the_same_gates() -> None:
    gates = [defs.resolve_job_def(name).asset_layer.asset_graph.asset_check_keys for name in JOBS[:2]]
    assert gates[0] == gates[1]
    assert {key.name for key in gates[0]} == set().union(*(BLOCKING[asset] for asset in BUILT))


def test_sensors_and_schedules() -> None:
    repository = defs.get_repository_def()
    sensors = {"git_head", "needs_compaction", "new_traces", "record_failure", "delta_exports"}
    assert {s.name for s in repository.sensor_defs} == sensors
    assert {s.name for s in repository.schedule_defs} >= {"compaction_window", "garbage_collection", "freshness_watch"}


def test_one_run_per_repository_and_two_in_all() -> None:
    with dg.instance_for_test(overrides=yaml.safe_load((ROOT / "dagster.yaml").read_text())) as instance:
        config = instance.get_concurrency_config().run_queue_config
    assert config is not None
    assert config.max_concurrent_runs == 2
    (limit,) = config.tag_concurrency_limits
    assert limit == {"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}


@pytest.mark.e2e
def test_heavy_libraries_are_not_imported_with_the_definitions() -> None:
    code = (
        "import sys, codeintel_pipelines.definitions;"
        "heavy = ('faiss', 'jnius', 'onnxruntime', 'onnx', 'polars', 'tree_sitter_go', 'torch', 'deltalake');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.e2e
@pytest.mark.parametrize("command", [["dg", "check", "defs"], ["dg", "list", "defs"]])
def test_dg_commands_work_without_an_environment(command: list[str], tmp_path: Path) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("DAGSTER", "CODEINTEL"))}
    binary = Path(sys.executable).parent / command[0]
    path = f"{binary.parent}{os.pathsep}{clean['PATH']}"
    env = {**clean, "HOME": str(tmp_path), "PATH": path}
    done = subprocess.run([str(binary), *command[1:]], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if command[1] == "list":
        assert "faiss_secondary" in done.stdout
