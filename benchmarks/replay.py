"""Replay real commits one by one: each incremental generation is compared with a full rebuild of the same commit.

    python -m benchmarks.replay --repo PATH [--commits 50] [--fake]

Both homes share the vector cache, so that the full rebuild costs everything but the embedding. The builds are the
stage functions that the Dagster assets call (`plain_build`), without Dagster's seconds per run.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from benchmarks import fake_encoder, machine, page, plain_build, results
from benchmarks.rows import Row
from codeintel_core.analysis import query_terms
from codeintel_core.deadline import Deadline
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.indexes.lexical import LexicalSearcher
from codeintel_core.repository import mirror
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings

BRANCH = "replayed"
_QUERIES = 20
_TOP = 10


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit cost, and whether its generation equals the full rebuild."""

    commit: str
    chunks: int
    changed_files: int
    embedded: int
    seconds: float
    full_seconds: float
    reused_chunks: float  # share of chunks whose id was in the parent
    ratio: float  # (secondary + tombstones) / primary
    rebuilt: bool  # whether the build wrote a new primary itself
    compact_seconds: float  # of the compaction that this commit made due, 0 when it did not
    disk_mb: float  # what this generation adds to the disk (hard links counted once)
    same_ids: bool
    same_keys: bool
    same_dense_hits: bool
    same_lexical_hits: float  # share of the sample's top 10 that both return
    stages: dict[str, float]


def _settings(home: Home) -> Settings:
    """The defaults, but every build embeds all its texts at once: what is compared is complete."""
    return Settings(home=home.root, lexical_first_texts=10**9)


def replay(repo: Path, commits: int, folder: Path) -> list[Commit]:
    """Replay the last `commits` commits of the first-parent history of a repository."""
    history = _git(repo, "rev-list", "--first-parent", "--reverse", f"--max-count={commits + 1}", "HEAD").split()
    source = folder / "source"
    _git(folder, "clone", "--quiet", "--bare", str(repo), str(source))
    incremental, full = Home(folder / "incremental"), Home(folder / "full")
    for home in (incremental, full):
        home.root.mkdir()
        for shared in ("models", "embeddings"):
            (folder / shared).mkdir(exist_ok=True)
            (home.root / shared).symlink_to(folder / shared)
        _git(source, "update-ref", f"refs/heads/{BRANCH}", history[0])
        mirror.add(home, str(source), name="replayed", branch=BRANCH)
    rows: list[Commit] = []
    before: set[int] = set()
    for number, commit in enumerate(history):
        _git(source, "update-ref", f"refs/heads/{BRANCH}", commit)
        used = _disk_bytes(incremental)
        costs = plain_build.Cost(), plain_build.Cost()
        manifest = plain_build.build(incremental, _settings(incremental), "replayed", cost=costs[0])
        added = _disk_bytes(incremental) - used
        rebuilt = plain_build.build(full, _settings(full), "replayed", force=True, cost=costs[1])
        row, before = _compared(incremental, manifest, full, rebuilt, costs, before, added)
        if row.ratio > _settings(incremental).compaction_ratio:  # what the sensor asks
            row = _compacted(row, incremental, full, rebuilt)
        if number:  # the first one is the first build
            rows.append(row)
            print(f"{number:3} {_line(row)}", flush=True)
    return rows


def _compacted(row: Commit, home: Home, full: Home, rebuilt: Manifest) -> Commit:
    """Compact, and compare again: nothing but the shape of the indexes may have changed."""
    cost = plain_build.Cost()
    manifest = plain_build.build(home, _settings(home), "replayed", compact=True, cost=cost)
    after, _ = _compared(home, manifest, full, rebuilt, (cost, cost), set(), 0)
    same = after.same_ids and after.same_keys and after.same_dense_hits and after.same_lexical_hits == 1.0
    return replace(row, compact_seconds=after.seconds, same_ids=row.same_ids and same)


def _compared(
    home: Home, manifest: Manifest, full: Home, rebuilt: Manifest,
    costs: tuple[plain_build.Cost, plain_build.Cost], before: set[int], added: int,
) -> tuple[Commit, set[int]]:  # fmt: skip
    folders = [h.repository(m.repo).generation(m.gen_id) for h, m in ((home, manifest), (full, rebuilt))]
    tables = [pq.read_table(folder / "embeddings.parquet").sort_by("chunk_id") for folder in folders]
    ids = [table["chunk_id"].to_pylist() for table in tables]
    keys = [table["text_key"].to_pylist() for table in tables]
    with contextlib.ExitStack() as stack:
        opened = [_opened(stack, h, m) for h, m in ((home, manifest), (full, rebuilt))]
        dense, lexical = _same_hits(opened, tables[1])
    counts = manifest.counts
    primary = [folder / "dense" / "primary.faiss" for folder in folders]
    row = Commit(
        commit=manifest.commit[:10],
        chunks=counts.chunks,
        changed_files=counts.files - manifest.reuse["files"],
        embedded=costs[0].computed,
        seconds=round(costs[0].total_s, 3),
        full_seconds=round(costs[1].total_s, 3),
        reused_chunks=round(len(before & set(ids[0])) / len(ids[0]), 4),
        ratio=round(counts.compaction_ratio, 4),
        rebuilt=primary[0].stat().st_nlink == 1,
        compact_seconds=0.0,
        disk_mb=round(added / 1e6, 2),
        same_ids=ids[0] == ids[1],
        same_keys=keys[0] == keys[1],
        same_dense_hits=dense,
        same_lexical_hits=lexical,
        stages={stage: round(seconds, 3) for stage, seconds in costs[0].seconds.items()},
    )
    return row, set(ids[0])


def _opened(stack: contextlib.ExitStack, home: Home, manifest: Manifest) -> Generation:
    at = home.repository(manifest.repo)
    generation = Generation.open(at.generation(manifest.gen_id), at.mirror)
    generation.acquire()
    stack.callback(generation.release)
    stack.callback(generation.retire)
    return generation


def _same_hits(opened: list[Generation], table: object) -> tuple[bool, float]:
    """Whether the same vectors get the same hits from both, and how many lexical hits agree."""
    count = table.num_rows  # type: ignore[attr-defined]
    random = np.random.default_rng(7)
    sample = random.choice(count, min(_QUERIES, count), replace=False)
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False)).astype(np.float32)[sample]  # type: ignore[index]
    same = True
    for vector in vectors:
        a, b = (generation.dense.search(vector, _TOP) for generation in opened)
        same &= bool(np.allclose(a[1], b[1], atol=1e-5)) and set(a[0].tolist()) == set(b[0].tolist())
    chunks = opened[1].catalog.sample_definitions(_QUERIES)
    agreed, asked = 0, 0
    searchers = [LexicalSearcher([g.lexical]) for g in opened if g.lexical is not None]
    for chunk in chunks:
        terms = [(term, 1.0) for term in query_terms(f"{chunk.name} {chunk.docstring[:80]}")]
        found = [set(s.search(terms, _TOP, Scope(), Deadline.after(60))[0].tolist()) for s in searchers]
        agreed += len(found[0] & found[1])
        asked += len(found[1])
    return same, round(agreed / max(1, asked), 4)


def _disk_bytes(home: Home) -> int:
    """Bytes of all generations, hard links counted once."""
    seen: dict[int, int] = {}
    for path in (home.repository("replayed").root / "generations").rglob("*"):
        status = path.stat()
        seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())


def _git(at: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(at), *arguments], check=True, capture_output=True, text=True).stdout


def _line(row: Commit) -> str:
    did = " new primary" * row.rebuilt + " compacted" * bool(row.compact_seconds)
    equal = "equal" if row.same_ids and row.same_keys and row.same_dense_hits else "DIFFERENT"
    return (
        f"{row.commit} {row.changed_files:4} files {row.embedded:5} embedded  {row.seconds:6.2f} s  "
        f"full {row.full_seconds:6.2f} s  ratio {row.ratio:.3f}{did}  {equal}"
    )


def summary(rows: list[Commit]) -> dict[str, float | int | str]:
    """The numbers of a whole replay."""
    seconds, full = [r.seconds for r in rows], [r.full_seconds for r in rows]
    compactions = [row for row in rows if row.compact_seconds]
    return {
        "commits": len(rows),
        "generations equal to the full rebuild (ids, text keys, exact hits)": sum(
            r.same_ids and r.same_keys and r.same_dense_hits for r in rows
        ),
        "chunks, first and last": f"{rows[0].chunks} / {rows[-1].chunks}",
        "seconds per commit, median": round(statistics.median(seconds), 2),
        "seconds per commit, p95": round(float(np.percentile(seconds, 95)), 2),
        "seconds of a full rebuild with cached vectors, median": round(statistics.median(full), 2),
        "incremental / full, median of ratios": round(
            statistics.median(a / b for a, b in zip(seconds, full, strict=True)), 3
        ),
        "chunks reused, median": round(statistics.median(r.reused_chunks for r in rows), 4),
        "chunks reused, least": min(r.reused_chunks for r in rows),
        "texts embedded per commit, mean": round(statistics.mean(r.embedded for r in rows), 1),
        "stages of a commit, median seconds": ", ".join(
            f"{stage} {statistics.median(r.stages[stage] for r in rows):.2f}" for stage in rows[0].stages
        ),
        "new primary in the build itself": sum(r.rebuilt for r in rows),
        "compactions": len(compactions),
        "ratio at compaction": ", ".join(f"{r.ratio:.3f}" for r in compactions) or "none",
        "seconds per compaction": ", ".join(f"{r.compact_seconds:.1f}" for r in compactions) or "none",
        "MB that a generation adds, median": round(statistics.median(r.disk_mb for r in rows), 2),
        "lexical top 10 shared with the full rebuild, mean": round(
            statistics.mean(r.same_lexical_hits for r in rows), 4
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo", type=Path, default=Path(), help="a repository with enough history (default: here)")
    parser.add_argument("--name", default="this", help="what the repository is called in the results")
    parser.add_argument("--commits", type=int, default=50)
    parser.add_argument("--fake", action="store_true", help="embed with the fake encoder (the table says so)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="replay-") as folder,
        contextlib.ExitStack() as stack,
        machine.Clock() as clock,
    ):
        if options.fake:
            stack.enter_context(fake_encoder.used_by_builds())
        rows = replay(options.repo.absolute(), options.commits, Path(folder))
    found = summary(rows)
    table = Table("replay", f"{options.repo}{' (fake encoder)' if options.fake else ''}")
    for name, value in found.items():
        table.add_row(name, str(value))
    Console(width=120).print(table)
    measured = (Row("replay", name, value) for name, value in found.items())
    of = f"{options.name}{', fake encoder' if options.fake else ''}"
    results.store("replay", of, clock.circumstances(), measured)
    page.write()


if __name__ == "__main__":
    main()
