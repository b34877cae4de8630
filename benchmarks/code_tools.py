"""Code tools: grep over a million lines against `git grep` and ripgrep, the catalog's cursors against connections."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from benchmarks import packed_repository
from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core.database import Database, Query
from codeintel_core.repository.grep import LinePattern
from codeintel_core.repository.sketches import Sketches

_QUERIES = 400


def measure(at: Workplace) -> Rows:
    """Needs nothing of the other subjects."""
    yield from _grep(at.folder / "grep")
    yield from _cursors(at.folder / "cursors.duckdb")


def _grep(folder: Path) -> Rows:
    git = packed_repository.make(folder)
    ripgrep = shutil.which("rg", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    blobs, sketches = [entry.blob for entry in git.tree(git.resolve("main"))], Sketches()
    started = time.perf_counter()
    for blob, data in git.blobs(blobs):
        sketches.keep(blob, data, None)
    note = f"{len(blobs)} texts; what the first grep for a text does"
    yield Row("grep, 1M lines", "read and sketch all", time.perf_counter() - started, "s", note=note)
    for label, text, is_regex in (
        ("rare text", "needle_77", False),
        ("rare regex", r"needle_\d+\(", True),
        ("common text, 1 line in 20", "token_7", False),
    ):
        pattern = LinePattern(text, is_regex=is_regex, case_sensitive=True)

        def ours(pattern: LinePattern = pattern) -> int:
            may_hold = sketches.that_may_hold(blobs, str, pattern.part, None)
            return sum(pattern.count(data) for _, data in git.blobs(may_hold))

        def theirs(text: str = text, is_regex: bool = is_regex) -> int:
            kind = "--extended-regexp" if is_regex else "--fixed-strings"
            command = ["git", "-C", str(folder), "grep", "--no-color", kind, "-h", "-e", text.replace(r"\d", "[0-9]")]
            return subprocess.run([*command, "main"], capture_output=True, check=True).stdout.count(b"\n")

        def theirs_too(text: str = text, is_regex: bool = is_regex) -> int:
            kind = "--regexp" if is_regex else "--fixed-strings"
            command = [
                str(ripgrep),
                "--no-config",
                "--threads=1",
                "--no-filename",
                "--glob=!.git",
                kind,
                text,
                str(folder),
            ]
            return subprocess.run(command, capture_output=True, check=True).stdout.count(b"\n")

        (found, seconds), (expected, theirs_s) = _best(ours), _best(theirs)
        assert found == expected, (label, found, expected)
        note = f"{found} lines; git grep's own regular expressions take no pattern of a caller"
        yield Row("grep, 1M lines", label, seconds, "s", f"git grep {theirs_s:.3g}", theirs_s / seconds, note)
        beside = f"{label}, beside ripgrep"
        if ripgrep is None:
            yield Row("grep, 1M lines", beside, "skipped", note="rg is not installed: .[bench]")
            continue
        expected, theirs_s = _best(theirs_too)
        assert found == expected, (label, found, expected)
        note = f"{found} lines; ripgrep, one thread, reads the files of the work tree, ours the blobs of the repository"
        yield Row("grep, 1M lines", beside, seconds, "s", f"ripgrep {theirs_s:.3g}", theirs_s / seconds, note)


def _best(work: Callable[[], int]) -> tuple[int, float]:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        found = work()
        times.append(time.perf_counter() - started)
    return found, min(times)


def _cursors(path: Path) -> Rows:
    with duckdb.connect(str(path)) as db:
        db.execute("CREATE TABLE chunks AS SELECT i AS chunk_id, repeat('text ', 100) AS text FROM range(100000) t(i)")
        db.execute("CREATE UNIQUE INDEX key ON chunks (chunk_id)")
    chance = random.Random(2)
    asked = [[chance.randrange(100_000) for _ in range(20)] for _ in range(_QUERIES)]
    database = Database.open(path)

    def cursor(ids: list[int]) -> None:
        rows = database.rows(Query("SELECT * FROM chunks").where("chunk_id IN (SELECT unnest($ids))", ids=ids))
        assert len(rows) == len(set(ids))

    def connection(ids: list[int]) -> None:
        with duckdb.connect(str(path), read_only=True, config={"threads": "1"}) as db:
            db.execute("SELECT * FROM chunks WHERE chunk_id IN (SELECT unnest($ids))", {"ids": ids}).fetchall()

    for threads in (1, 8):
        ours = _concurrent(cursor, asked, threads)
        database.close()  # an open file would be shared with the connections, whose cost it is about
        theirs = _concurrent(connection, asked, threads)
        database = Database.open(path)
        for label, mine, other in zip(("p50", "p95"), percentiles(ours), percentiles(theirs), strict=True):
            peer = f"connection per request {other:.3g}"
            yield Row(f"catalog, {threads} threads", f"20 of 100k chunks, {label}", mine, "ms", peer, other / mine)
    database.close()


def _concurrent(ask: Callable[[list[int]], None], asked: list[list[int]], threads: int) -> list[float]:
    def timed(ids: list[int]) -> float:
        started = time.perf_counter()
        ask(ids)
        return time.perf_counter() - started

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(timed, asked))
