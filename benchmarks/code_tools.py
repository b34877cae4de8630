"""Code tools: grep over a million lines of a mirror against `git grep`, and the catalog's cursors against connections.

The repository is made here (2,500 files of 400 lines, packed), so the numbers do not depend on what is measured else.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb

from benchmarks.rows import Row, Rows, percentiles
from benchmarks.workplace import Workplace
from codeintel_core.database import Database, Query
from codeintel_core.repository.git import GitRepository
from codeintel_core.repository.grep import LinePattern

_FILES, _LINES = 2_500, 400
_QUERIES = 400
_WORDS = "value result index path name request handler buffer record table commit parser stream token window".split()


def measure(at: Workplace) -> Rows:
    """Needs nothing of the other subjects."""
    yield from _grep(at.folder / "grep")
    yield from _cursors(at.folder / "cursors.duckdb")


def _grep(folder: Path) -> Rows:
    git = _repository(folder)
    blobs = [entry.blob for entry in git.tree(git.resolve("main"))]
    for label, text, is_regex in (
        ("rare text", "needle_77", False),
        ("rare regex", r"needle_\d+\(", True),
        ("common text, 1 line in 20", "token_7", False),
    ):
        pattern = LinePattern(text, is_regex=is_regex, case_sensitive=True)

        def ours(pattern: LinePattern = pattern) -> int:
            return sum(pattern.count(data) for _, data in git.blobs(blobs))

        def theirs(text: str = text, is_regex: bool = is_regex) -> int:
            kind = "--extended-regexp" if is_regex else "--fixed-strings"
            command = ["git", "-C", str(folder), "grep", "--no-color", kind, "-h", "-e", text.replace(r"\d", "[0-9]")]
            return subprocess.run([*command, "main"], capture_output=True, check=True).stdout.count(b"\n")

        (found, seconds), (expected, theirs_s) = _best(ours), _best(theirs)
        assert found == expected, (label, found, expected)
        note = f"{found} lines; git grep's own regular expressions take no pattern of a caller"
        yield Row("grep, 1M lines", label, seconds, "s", f"git grep {theirs_s:.3g}", theirs_s / seconds, note)


def _best(work: Callable[[], int]) -> tuple[int, float]:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        found = work()
        times.append(time.perf_counter() - started)
    return found, min(times)


def _repository(folder: Path) -> GitRepository:
    folder.mkdir()
    chance = random.Random(1)
    for number in range(_FILES):
        lines = [
            f"    {chance.choice(_WORDS)} = {chance.choice(_WORDS)}_{chance.randrange(20)}({chance.choice(_WORDS)})\n"
            if chance.randrange(20) else f"    token_{chance.randrange(8)} += {chance.choice(_WORDS)}\n"
            for _ in range(_LINES)
        ]  # fmt: skip
        if number % 500 == 0:
            lines[200] = "    needle_77(value)\n"
        (folder / f"f{number}.py").write_text("".join(lines))
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "files"], ["gc", "-q"]):
        identity = ["-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)
    return GitRepository(folder / ".git")


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
