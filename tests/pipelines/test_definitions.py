"""The Dagster code location: its lineage, gates and jobs are what the documentation says, and it loads cheaply."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from codeintel_pipelines.definitions import defs

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
    "catalog": {"chunks", "symbols"},
    "generation": {
        "chunks", "symbols", "embeddings", "faiss_primary", "faiss_secondary", "lucene_index", "catalog",
    },
    "answer_traces": set(),
    "analytics_database": {"answer_traces"},
}  # fmt: skip
BLOCKING = {
    "chunks": {"unique_ids", "spans_inside_files", "files_covered"},
    "embeddings": {"vectors_follow_contract"},
    "faiss_secondary": {"dense_adds_up"},
    "lucene_index": {"lucene_finds_identifiers"},
    "catalog": {"catalog_adds_up"},
    "generation": {"smoke_queries", "citations_match_source"},
    "answer_traces": {"unique_trace_ids"},
}


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
    for key in graph.asset_check_keys:
        assert graph.get(key).blocking, key
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    assert found == BLOCKING


def test_jobs_run_in_process() -> None:
    for name in ("build_repository", "compact_traces", "refresh_analytics"):
        assert defs.resolve_job_def(name).executor_def is dg.in_process_executor


def test_heavy_libraries_are_not_imported_with_the_definitions() -> None:
    code = (
        "import sys, codeintel_pipelines.definitions;"
        "print([m for m in ('faiss', 'jnius', 'onnxruntime', 'onnx', 'tree_sitter_go', 'torch') if m in sys.modules])"
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
