"""Several workers that share a folder answer one sum; the file of each survives its process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

WORKER = """
from codeintel_core.telemetry import metrics, run, step
with run('search', None), step('fuse.scores'):
    metrics.CITATIONS.labels('verified').inc(3)
metrics.READY_STATE.labels('ready').set(1)
"""
SCRAPE = """
from prometheus_client import generate_latest
from codeintel_serving.exposition import counters
print(generate_latest(counters()).decode())
"""


def _python(code: str, folder: Path) -> str:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_several_workers_answer_one_sum(tmp_path: Path) -> None:
    for _ in range(2):
        _python(WORKER, tmp_path)
    text = _python(SCRAPE, tmp_path)
    assert 'codeintel_citations_total{result="verified"} 6.0' in text
    assert 'codeintel_step_seconds_count{kind="fuse.scores",status="completed"} 2.0' in text
    assert 'codeintel_ready_state{state="ready"} 1.0' in text
    assert "pid=" not in text
