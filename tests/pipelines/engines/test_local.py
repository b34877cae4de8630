"""The pool of processes: the same bytes as one process, and a grammar that crashes costs its file only."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from codeintel_core.home import Home
from codeintel_core.settings import get_settings
from codeintel_core.telemetry import ledger
from codeintel_pipelines import runs
from codeintel_pipelines.build import ingest, vectors
from codeintel_pipelines.engines import Ran
from tests.conftest import GitRepo, Repo
from tests.pipelines.conftest import FILES, add_and_build

from .builds import MANY, digests, in_small_batches

pytestmark = pytest.mark.e2e
CRASHING_GRAMMAR = "import os\n\n\ndef language():\n    os.abort()\n"


def test_same_bytes_as_inline(tmp_path: Path, models: Path, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch) -> None:
    in_small_batches(monkeypatch)
    source = git_repo({**FILES, **MANY}, name="many")
    inline = digests(tmp_path / "inline", models, source, engine="inline")
    chunked, embedded = Ran(), Ran()
    monkeypatch.setattr(ingest, "Ran", lambda: chunked)  # a build without Dagster keeps no ledger to read them from
    monkeypatch.setattr(vectors, "Ran", lambda: embedded)  # likewise
    pooled = digests(tmp_path / "pooled", models, source, engine="local", engine_workers=2, engine_inline_bytes=0)
    assert any("embeddings" in name for name in inline)
    assert pooled == inline
    assert [(ran.engine, ran.workers) for ran in (chunked, embedded)] == [("local", 2), ("local", 2)]


def test_a_crashing_grammar_costs_its_file(
    home: Home, source: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "grammars"
    folder.mkdir()
    (folder / "tree_sitter_kotlin.py").write_text(CRASHING_GRAMMAR)
    monkeypatch.syspath_prepend(str(folder))  # workers inherit the path
    monkeypatch.setenv("CODEINTEL_ENGINE_INLINE_BYTES", "0")  # else so few files are done in this process
    monkeypatch.setenv("CODEINTEL_ENGINE_WORKERS", "1")  # so the order of retries, and their number, is known
    get_settings.cache_clear()
    source.commit({"src/Main.kt": "fun main() {}\n"})
    try:
        manifest = add_and_build(home, source)
    finally:
        get_settings.cache_clear()
    assert manifest.coverage == {"crashed": 1, "indexed": len(FILES)}
    assert "its grammar crashes: src/Main.kt" in caplog.text
    steps = ledger.read(home.ledger, manifest.dagster_run_id)
    step = next(one for one in steps if one.get("kind") == "build.chunks" and one["event"] == "end")["attributes"]
    # The batch of five files, then each of them alone, of which one once more.
    assert (step["engine"], step["workers"], step["retries"]) == ("local", 1, 6)
    with runs.instance(home) as instance:
        from dagster import AssetKey

        event = instance.get_latest_materialization_event(AssetKey("chunks"))
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.metadata["engine"].value == "local"
    assert event.asset_materialization.metadata["retries"].value == 6


def test_workers_end_with_their_parent() -> None:
    script = (
        "import os, signal\n"
        "from codeintel_pipelines.build.work import ChunkFiles\n"
        "from codeintel_pipelines.engines.local import ProcessWorker\n"
        "if __name__ == '__main__':\n"
        "    worker = ProcessWorker(ChunkFiles('r', 100, 1000))\n"
        "    worker.start().result()\n"
        "    print(*worker._pool._processes, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        with contextlib.suppress(ProcessLookupError):  # it may be gone already
            ended = os.pidfd_open(pid)
            assert select.select([ended], [], [], 60)[0], "the worker outlived its parent"
            os.close(ended)
