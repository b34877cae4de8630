"""The trace journal: acknowledged rows come back once, whole and typed, whatever happened to the file."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from codeintel_core.errors import DeadlineExceeded
from codeintel_core.home import Home
from codeintel_core.schemas import ANSWER_TRACES
from codeintel_core.telemetry import metrics, run, step
from codeintel_core.traces import tables
from codeintel_core.traces.journal import days
from codeintel_core.traces.record import AnswerTrace, TraceJournal
from tests.core.secrets.planted import TOKENS

_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _trace(query: str = "q", *, at: datetime = _AT, **columns: object) -> AnswerTrace:
    return AnswerTrace(
        run_id="r", session_id="", otel_trace_id="t", operation="search", surface="rest", asked_at=at, query=query,
        scope="{}", mode="hybrid", retrieval_budget_ms=400, total_budget_ms=2000, **columns,
    )  # type: ignore[arg-type]  # fmt: skip


def _read_day(folder: Path, day: str) -> pa.Table:
    return tables.read_day(replace(tables.traces(Home(folder)), journals=folder), day)


def _queries(folder: Path, day: str = "2026-01-02") -> list[str]:
    return _read_day(folder, day)["query"].to_pylist()


def _journal(folder: Path, *traces: AnswerTrace) -> Path:
    journal = TraceJournal(folder)
    assert all(journal.write(trace) for trace in traces)
    journal.close()
    return next(path for path in sorted(folder.rglob("*.jsonl")) if journal._worker in path.name)


def test_a_row_comes_back_as_it_was(tmp_path: Path) -> None:
    candidate = {
        "chunk_id": 2**62, "repo": "r", "path": "a", "blob": "b", "symbol": "s",
        "start_line": 1, "end_line": 2, "rank": 1, "score": 0.5,
        "fused": 0.4, "channels": [{"channel": "lexical", "rank": 1, "score": 9.0}], "cited": True, "citation": 1,
    }  # fmt: skip
    generation = {"repo": "r", "gen_id": "g", "commit": "c", "dagster_run_id": "d"}
    trace = _trace("Größe 😀\n", candidates=[candidate], generations=[generation], limits=["cut"], confidence=0.25)
    _journal(tmp_path, trace)
    table = _read_day(tmp_path, "2026-01-02")
    assert table.schema.equals(ANSWER_TRACES)
    (row,) = table.to_pylist()
    assert (row["query"], row["asked_at"], row["confidence"], row["limits"]) == ("Größe 😀\n", _AT, 0.25, ["cut"])
    assert (row["candidates"], row["generations"]) == ([candidate], [generation])


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_secret_of_the_request_is_masked_also_when_its_page_was_kept(tmp_path: Path, is_kept: bool) -> None:
    """Nobody looks at the whole row of a page from memory again."""
    secret = TOKENS["github"]
    page = _trace().shared() if is_kept else {}
    trace = _trace(limits=["a channel failed", f"bad key {secret}"], masked=page)
    trace.session_id = f"session {secret}"
    with run("search", None) as current:
        with pytest.raises(DeadlineExceeded), step("synthesize", note=secret):
            raise DeadlineExceeded(f"no answer from {secret}")
        trace.close(current)
    path = _journal(tmp_path, trace)
    assert secret not in path.read_text()
    (row,) = _read_day(tmp_path, "2026-01-02").to_pylist()
    assert (row["limits"][0], row["query"]) == ("a channel failed", "q")
    assert row["session_id"].startswith("session *")


def test_a_trace_tells_what_the_run_did(tmp_path: Path) -> None:
    with run("search", None) as current:
        with step("fuse.scores"):
            pass
        with pytest.raises(DeadlineExceeded), step("synthesize"):
            raise DeadlineExceeded("over budget")
        with step("fuse.scores"):
            pass
        trace = _trace().close(current)
    _journal(tmp_path, trace)
    (row,) = _read_day(tmp_path, "2026-01-02").to_pylist()
    assert [stage["name"] for stage in row["stages"]] == ["fuse.scores", "synthesize", "fuse.scores"]
    assert row["stopped_because"] == "synthesize timed_out: over budget"
    latency = dict(row["latency_ms"])
    assert latency.keys() == {"fuse.scores", "synthesize", "total"}
    fused = [stage["ms"] for stage in row["stages"] if stage["name"] == "fuse.scores"]
    assert latency["fuse.scores"] == pytest.approx(sum(fused))


def test_no_confidence_is_nan(tmp_path: Path) -> None:
    _journal(tmp_path, _trace())
    assert math.isnan(_read_day(tmp_path, "2026-01-02")["confidence"][0].as_py())


def test_rows_go_to_the_day_they_were_asked_in(tmp_path: Path) -> None:
    evening = datetime(2026, 1, 2, 23, 30, tzinfo=UTC)
    local = (evening + timedelta(hours=1)).astimezone(tz=None)
    _journal(tmp_path, _trace("late", at=evening), _trace("next", at=local), _trace("early", at=_AT))
    assert days(tmp_path) == ["2026-01-02", "2026-01-03"]
    assert _queries(tmp_path) == ["early", "late"]
    assert _queries(tmp_path, "2026-01-03") == ["next"]


def test_workers_are_read_together_by_time_and_duplicates_once(tmp_path: Path) -> None:
    first, second = _trace("first"), _trace("second", at=_AT + timedelta(seconds=1))
    _journal(tmp_path, second)
    path = _journal(tmp_path, first, second)
    path.write_bytes(path.read_bytes() * 2)
    assert _queries(tmp_path) == ["first", "second"]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7, 0.999])
def test_a_torn_end_costs_the_torn_row_only(tmp_path: Path, keep: float) -> None:
    path = _journal(tmp_path, _trace("whole"), _trace("torn"))
    whole, torn = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole + torn[: int(keep * (len(torn) - 1))])
    assert _queries(tmp_path) == ["whole"]


@pytest.mark.e2e
def test_a_killed_process_loses_no_acknowledged_row(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from tests.core.traces.test_journal import _trace, TraceJournal\n"
        "journal = TraceJournal(Path(sys.argv[1]))\n"
        "for i in range(50): print(i, flush=True) if journal.write(_trace(str(i))) else None\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, cwd=root, check=False)
    assert done.returncode == -9, done.stderr
    assert sorted(_queries(tmp_path), key=int) == done.stdout.decode().split() == [str(i) for i in range(50)]


@pytest.mark.e2e
def test_a_full_disk_refuses_rows_and_loses_no_acknowledged_one(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the full disk: the write that reaches it is a short one."""
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from tests.core.traces.test_journal import _trace, TraceJournal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); full = resource.RLIM_INFINITY\n"
        "journal = TraceJournal(Path(sys.argv[1])); out = [journal.write(_trace('1'))]\n"
        "size = next(Path(sys.argv[1]).rglob('*.jsonl')).stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, full))\n"
        "out += [journal.write(_trace('2')) for _ in '12']\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (full, full)); out += [journal.write(_trace(q)) for q in '34']\n"
        "print(out)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[True, False, False, True, True]"
    assert sorted(_queries(tmp_path)) == ["1", "3", "4"]


def test_a_journal_that_cannot_be_written_counts_and_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = metrics.REGISTRY.get_sample_value("codeintel_traces_dropped_total") or 0
    assert not TraceJournal(tmp_path / "file").write(_trace())
    assert metrics.REGISTRY.get_sample_value("codeintel_traces_dropped_total") == before + 1


def test_a_query_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    _journal(tmp_path, _trace("a\ud800b"))
    assert _queries(tmp_path) == ["a?b"]


def test_no_journal_is_an_empty_table(tmp_path: Path) -> None:
    assert days(tmp_path) == []
    table = _read_day(tmp_path, "2026-01-02")
    assert (table.num_rows, table.schema) == (0, ANSWER_TRACES)
