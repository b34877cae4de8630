"""Builds through the real Dagster job (`codeintel build`): first, no-op and incremental; stages from the ledger."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import Row, Rows
from benchmarks.workplace import NAME, Workplace, run_git
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id
from codeintel_core.telemetry import ledger

_CHANGED = 20


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command."""

    began: float  # seconds since 1970
    seconds: float
    peak_mb: float
    manifest: Manifest
    stages: dict[str, float]


def measure(at: Workplace) -> Rows:
    """Leaves a built home for the subjects after this one."""
    _finished(at, "add", str(at.source), "--name", NAME)
    first = _build(at)
    counts = first.manifest.counts
    size = sum(file.size_bytes for file in first.manifest.files.values())
    source = sum(len(data) for _, data in at.files()) / 1e6
    yield Row("build", "files", float(counts.files))
    yield Row("build", "source", source, "MB")
    yield Row("build", "chunks", float(counts.chunks))
    yield Row("build", "on disk", size / 1e6, "MB")
    yield Row("build", "first build, whole command", first.seconds, "s")
    searchable_s = _searchable(at) - first.began
    yield Row("build", "searchable (lexical, symbols) after", searchable_s, "s")
    speed = source / searchable_s
    yield Row("build", "source searchable per second", speed, "MB", "goal 1", speed)
    encoding_s = first.stages.get("embeddings", 0.0)
    share = encoding_s / first.seconds
    yield Row("build", "share of its embeddings", share, "", "goal 0.91", share / 0.91)
    yield from (Row("build", f"  stage {stage}", seconds, "s") for stage, seconds in first.stages.items())
    inside = sum(first.stages.values())
    yield Row("build", "  beside the stages: Python, Dagster, JVM", first.seconds - inside, "s")
    yield Row("build", "peak memory (RSS)", first.peak_mb, "MiB")
    same = _build(at)
    assert same.manifest.gen_id == first.manifest.gen_id
    yield Row("build", "nothing changed, whole command", same.seconds, "s", "goal 5", 5 / same.seconds)
    added = "".join(f"def bench_addition_{i}(value):\n    return value + {i}\n\n\n" for i in range(_CHANGED))
    (at.source / "bench_additions.py").write_text(added)
    _commit(at)
    again = _build(at)
    note = f"{again.manifest.counts.chunks - counts.chunks:+} chunks; {_stages(again)}"
    yield Row(
        "build", "one new file, whole command", again.seconds, "s",
        f"first build {first.seconds:.1f}", first.seconds / again.seconds, note,
    )  # fmt: skip
    yield Row("build", "  its stages together", sum(again.stages.values()), "s")


def _searchable(at: Workplace) -> float:
    """When the first generation was published: without vectors, if those took their time."""
    folders = at.home.repository(NAME).generations.iterdir()
    first = min((manifests.load(folder) for folder in folders), key=lambda manifest: manifest.created_at)
    assert first.parent is None, "the first generation is kept for as long as this takes"
    return first.created_at.timestamp()


def _stages(run: Run) -> str:
    return ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in run.stages.items())


def _build(at: Workplace) -> Run:
    before = set(at.home.ledger.rglob("*.jsonl"))
    began, started = time.time(), time.perf_counter()
    peak_mb = _finished(at, "build", NAME)
    seconds = time.perf_counter() - started
    repository = at.home.repository(NAME)
    manifest = manifests.load(repository.generation(str(current_id(repository))))
    written = set(at.home.ledger.rglob("*.jsonl")) - before
    return Run(began, seconds, peak_mb, manifest, _ledger_stages(written))


def _ledger_stages(ledgers: Iterable[Path]) -> dict[str, float]:
    """Seconds of each stage, from the ledgers of the command's runs (several when it publishes lexical first)."""
    stages: dict[str, float] = {}
    for path in ledgers:
        for line in ledger.read_file(path):
            if line.get("event") == "end" and str(line["kind"]).startswith("build."):
                stage = str(line["kind"]).removeprefix("build.")
                stages[stage] = stages.get(stage, 0.0) + float(line["duration_ms"]) / 1000
    return stages


def _finished(at: Workplace, *arguments: str) -> float:
    """Run a command of the product to its end; its peak resident memory in MiB."""
    process = at.codeintel(*arguments)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        assert process.stderr is not None
        raise SystemExit(f"codeintel {' '.join(arguments)}: {process.stderr.read()}")
    process.returncode = 0
    return usage.ru_maxrss / 1024


def _commit(at: Workplace) -> None:
    run_git(at.source, "add", "--all")
    run_git(at.source, "commit", "--quiet", "--message=bench")
