"""Small parts of builds and queries, each beside the plainest thing that does the same work.

Reading blobs of a packed repository, gathering chunks by id, fusing channels and writing JSON, storing traces.
"""

from __future__ import annotations

import importlib
import random
import resource
import sqlite3
import statistics
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from benchmarks import packed_repository
from benchmarks.rows import Row, Rows, percentiles, seconds
from benchmarks.sparse import made_chunk
from benchmarks.workplace import Workplace
from codeintel_core import chunk_rows, schemas
from codeintel_core.home import Home
from codeintel_core.repository.git import GitRepository, batch_command
from codeintel_core.retrieval import fusion
from codeintel_core.traces import tables
from codeintel_core.traces.journal import Journal

_CHUNKS, _TAKEN, _QUERIES = 100_000, 50, 300
_TRACES, _ALONE = 1_000, 20
_ROUNDS = 5
_GOAL_FUSION_US = 150.0


def measure(at: Workplace) -> Rows:
    """Needs nothing of the other subjects."""
    yield _blobs(packed_repository.make(at.folder / "blobs"), at.folder)
    yield _hydrate(at.folder / "hydrate")
    yield _fuse()
    yield from _traces(at.folder / "appended")


def _blobs(git: GitRepository, folder: Path) -> Row:
    blobs = [entry.blob for entry in git.tree(git.resolve("main"))]
    asked = folder / "asked.txt"
    asked.write_text("".join(f"{blob}\n" for blob in blobs))

    def ours() -> None:
        assert sum(1 for _ in git.blobs(blobs)) == len(blobs)

    def bare() -> None:
        command = [*batch_command(git.path), "--buffer"]
        with asked.open() as names, subprocess.Popen(command, stdin=names, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while process.stdout.read(1 << 20):
                pass

    ours_s, bare_s = _in_turn(ours, bare, _cpu_seconds)
    beside = f"bare cat-file --batch --buffer {len(blobs) / bare_s:,.0f}"
    note = "the peer's output is read in blocks and not taken apart"
    speed = len(blobs) / ours_s
    return Row("primitives", "blobs of a packed repository", speed, "blobs/CPU-s", beside, bare_s / ours_s, note)


def _hydrate(folder: Path) -> Row:
    """50 chunks of 100,000 by id: ours beside a table of sqlite with the id as its key."""
    folder.mkdir()
    # Ids as they are: hashes, so that neighbours in the table have nothing to do with each other.
    ids = np.random.default_rng(3).choice(1 << 62, _CHUNKS, replace=False)
    made = [made_chunk(number) | {"chunk_id": int(ids[number])} for number in range(_CHUNKS)]
    chunk_rows.write(folder / chunk_rows.FILE_NAME, pa.Table.from_pylist(made, schema=schemas.CHUNKS))
    columns = ", ".join(chunk_rows.COLUMNS)
    peer = sqlite3.connect(folder / "peer.sqlite")
    peer.execute(f"CREATE TABLE chunks ({columns.replace('chunk_id', 'chunk_id INTEGER PRIMARY KEY')})")
    values = f"INSERT INTO chunks VALUES ({', '.join(f':{name}' for name in chunk_rows.COLUMNS)})"
    peer.executemany(values, made)
    peer.commit()
    del made
    rows = chunk_rows.ChunkRows(folder, hidden=())
    query = f"SELECT {columns} FROM chunks WHERE chunk_id IN ({', '.join('?' * _TAKEN)})"

    def ours(wanted: list[int]) -> None:
        assert len(rows.take(np.array(wanted))) == _TAKEN

    def theirs(wanted: list[int]) -> None:
        found = {row[0]: chunk_rows.ChunkRow(*row) for row in peer.execute(query, wanted)}
        assert len(found) == _TAKEN

    chance, known = random.Random(4), ids.tolist()
    mine_s, other_s = [], []
    for _ in range(_QUERIES):
        wanted = chance.sample(known, _TAKEN)
        mine_s.append(seconds(partial(ours, wanted)))
        wanted = chance.sample(known, _TAKEN)  # others: neither profits from the pages that the other has read
        other_s.append(seconds(partial(theirs, wanted)))
    mine, other = percentiles(mine_s)[0], percentiles(other_s)[0]
    peer.close()
    return Row(
        "primitives", f"{_TAKEN} of {_CHUNKS:,} chunks by id", mine, "ms", f"sqlite by key {other:.3f}", other / mine
    )


def _fuse() -> Row:
    random_ = np.random.default_rng(9)
    channels = {
        name: (random_.choice(2_000, 200, replace=False), -np.sort(-random_.random(200)).astype(np.float32))
        for name in ("dense", "lexical", "symbols")
    }
    weights = dict.fromkeys(channels, 1.0)
    hit = {"id": "h1", "path": "src/module/file.py", "lines": [10, 42], "symbol": "Class.method", "text": "x" * 800}

    def work() -> None:
        fused = fusion.by_scores(channels, weights)
        best = sorted(fused, key=fused.__getitem__, reverse=True)[:10]
        orjson.dumps([hit | {"chunk": chunk, "score": fused[chunk]} for chunk in best])

    p50, _ = percentiles([seconds(work) for _ in range(1_000)])
    goal = f"goal {_GOAL_FUSION_US:g}"
    return Row("primitives", "fusion of 3 x 200, JSON of 10 hits", p50 * 1000, "us", goal, _GOAL_FUSION_US / 1000 / p50)


def _traces(folder: Path) -> Rows:
    """1,000 traces: ours keeps each when its request ends; Delta does so with a commit each, or with one for all."""
    rows = _made_traces(Home(folder / "made"))
    ours = partial(_journaled, folder / "journal", rows)
    try:
        deltalake: Any = importlib.import_module("deltalake")
    except ImportError:
        ours_s = statistics.median(seconds(ours) for _ in range(_ROUNDS))
        yield Row("primitives", "1,000 traces stored", ours_s * 1000, "ms", note="deltalake is not installed: .[delta]")
        return
    table = pa.Table.from_pylist(rows, schema=schemas.ANSWER_TRACES)
    target = str(folder / "delta")
    deltalake.write_deltalake(target, table.slice(0, 1))
    ours_s, delta_s = _in_turn(ours, partial(deltalake.write_deltalake, target, table, mode="append"))
    one_s = statistics.median(
        seconds(partial(deltalake.write_deltalake, target, table.slice(number, 1), mode="append"))
        for number in range(_ALONE)
    )
    note = "ours: one durable line each as requests end, secrets masked"
    at_once, alone = f"Delta, one commit for all {delta_s * 1000:.1f}", f"Delta, one commit {one_s * 1000:.1f}"
    yield Row("primitives", "1,000 traces stored", ours_s * 1000, "ms", at_once, delta_s / ours_s, note)
    yield Row("primitives", "one trace stored", ours_s / len(rows) * 1000, "ms", alone, one_s * len(rows) / ours_s)


def _made_traces(home: Home) -> list[dict[str, Any]]:
    from benchmarks.traces import generate

    generate(home, _TRACES, days=1)
    rows: list[dict[str, Any]] = pa.parquet.read_table(tables.traces(home).files()[0]).to_pylist()
    return rows


def _journaled(folder: Path, rows: list[dict[str, Any]]) -> None:
    journal = Journal(folder)
    at = datetime(2026, 9, 1, tzinfo=UTC)
    for row in rows:
        assert journal.append(
            at, row | {"asked_at": row["asked_at"].isoformat(), "latency_ms": dict(row["latency_ms"])}
        )
    journal.close()


def _in_turn(
    one: Callable[[], object],
    other: Callable[[], object],
    clock: Callable[[Callable[[], object]], float] = seconds,
) -> tuple[float, float]:
    """Median seconds of both, measured in turn."""
    times = [(clock(one), clock(other)) for _ in range(_ROUNDS)]
    mine, theirs = zip(*times, strict=True)
    return statistics.median(mine), statistics.median(theirs)


def _cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds, those of processes that it started and waited for included."""
    before = _used_s()
    work()
    return _used_s() - before


def _used_s() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
