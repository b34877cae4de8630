"""Daily tables: every acknowledged row once through compactions, upgrades, late rows and clock jumps; retention."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codeintel_core.home import Home
from codeintel_core.schemas import ANSWER_TRACES
from codeintel_core.traces import journal, lookup, retention, tables
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import AnswerTrace, Feedback, TraceJournal

_DAY = "2026-01-02"
_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_OVER = datetime(2026, 1, 3, 6, tzinfo=UTC).timestamp()


def _trace(query: str, at: datetime = _AT, **columns: object) -> AnswerTrace:
    return AnswerTrace(
        run_id="r", session_id="", otel_trace_id="t", operation="answer", surface="rest", asked_at=at, query=query,
        scope="{}", mode="hybrid", retrieval_budget_ms=400, total_budget_ms=2000, answer=f"of {query}", **columns,
    )  # type: ignore[arg-type]  # fmt: skip


def _write(home: Home, *traces: AnswerTrace, **kept: bool) -> Path:
    writer = TraceJournal(home.trace_journal, **kept)
    assert all(writer.write(trace) for trace in traces)
    writer.close()
    return next(path for path in home.trace_journal.rglob("*.jsonl") if writer._worker in path.name)


def _stored(home: Home, day: str = _DAY) -> list[str]:
    return pq.read_table(tables.traces(home).path(day))["query"].to_pylist()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_day_is_compacted_in_order_with_todays_schema(home: Home) -> None:
    _write(home, _trace("second", _AT + timedelta(seconds=1)))
    _write(home, _trace("first"))
    done = tables.compact(tables.traces(home), _DAY)
    assert (done.rows, done.journaled, done.stored, done.lost, done.torn) == (2, 2, 0, 0, 0)
    assert _stored(home) == ["first", "second"]
    assert pq.read_schema(tables.traces(home).path(_DAY)).equals(ANSWER_TRACES)


def test_compacting_again_changes_nothing(home: Home) -> None:
    _write(home, *(_trace(str(number)) for number in range(20)))
    table = tables.traces(home)
    tables.compact(table, _DAY)
    before = table.path(_DAY).read_bytes()
    done = tables.compact(table, _DAY)
    assert (done.rows, done.stored, done.lost, done.late) == (20, 20, 0, 0)
    assert table.path(_DAY).read_bytes() == before


def test_journals_may_go_once_they_are_compacted_and_late_rows_still_join(home: Home) -> None:
    table = tables.traces(home)
    _write(home, _trace("early"))
    tables.compact(table, _DAY)
    os.utime(table.path(_DAY), (_OVER, _OVER))
    for path in journal.files(home.trace_journal, _DAY):
        os.utime(path, (_OVER - 1, _OVER - 1))
    assert tables.remove_compacted(table, date(2026, 1, 3)) == 0, "yesterday's workers may still write"
    assert tables.remove_compacted(table, date(2026, 1, 4)) == 1
    _write(home, _trace("late", _AT + timedelta(hours=1)))
    done = tables.compact(table, _DAY)
    assert (done.rows, done.journaled, done.stored, done.late, done.lost) == (2, 1, 1, 1, 0)
    assert _stored(home) == ["early", "late"]


def test_a_journal_that_grew_after_its_compaction_is_not_removed(home: Home) -> None:
    table = tables.traces(home)
    path = _write(home, _trace("one"))
    tables.compact(table, _DAY)
    os.utime(table.path(_DAY), (_OVER, _OVER))
    os.utime(path, (_OVER + 1, _OVER + 1))
    assert tables.remove_compacted(table, date(2026, 6, 1)) == 0


_GARBAGE = st.binary(max_size=200).filter(lambda raw: b"trace_id" not in raw)


@settings(max_examples=6)
@given(garbage=st.lists(_GARBAGE, min_size=16, max_size=24))
def test_any_garbage_after_whole_rows_costs_only_itself(
    tmp_path_factory: pytest.TempPathFactory, garbage: list[bytes]
) -> None:
    """In many journals at once: reading them starts DuckDB, which is what this test costs."""
    home = Home(tmp_path_factory.mktemp("home"))
    for number, one in enumerate(garbage):
        path = _write(home, *(_trace(f"{number} {row}", _AT + timedelta(seconds=2 * number + row)) for row in (0, 1)))
        path.write_bytes(path.read_bytes() + one)
    assert tables.compact(tables.traces(home), _DAY).lost == 0
    assert _stored(home) == [f"{number} {row}" for number in range(len(garbage)) for row in (0, 1)]


def test_duplicate_files_and_torn_lines(home: Home) -> None:
    path = _write(home, _trace("a"), _trace("b", _AT + timedelta(seconds=1)))
    path.with_name("copy.jsonl").write_bytes(path.read_bytes() + b'{"trace_id": "torn')
    done = tables.compact(tables.traces(home), _DAY)
    assert (done.rows, done.journaled, done.torn, done.lost) == (2, 2, 1, 0)


def test_a_row_of_another_day_is_kept_and_counted(home: Home) -> None:
    path = _write(home, _trace("skewed", _AT - timedelta(hours=6)))
    (home.trace_journal / f"date={_DAY}").mkdir()
    path.rename(home.trace_journal / f"date={_DAY}" / "moved.jsonl")
    assert tables.compact(tables.traces(home), _DAY).misdated == 1
    assert _stored(home) == ["skewed"]


def test_journals_and_tables_of_an_older_schema_are_upgraded(home: Home) -> None:
    path = _write(home, _trace("old", candidates=[]))
    row = orjson.loads(path.read_bytes())
    candidate = {"chunk_id": 1, "repo": "r", "path": "p", "start_line": 1, "end_line": 2, "rank": 1, "cited": True}
    for name in ("lags", "query_digest", "tokens_in", "tokens_per_second", "fusion", "tuning_id"):
        del row[name]
    path.write_bytes(orjson.dumps({**row, "candidates": [candidate]}))
    tables.compact(tables.traces(home), _DAY)
    (found,) = pq.read_table(tables.traces(home).path(_DAY)).to_pylist()
    assert (found["lags"], found["query_digest"], found["tokens_in"]) == ([], "", 0)
    assert (found["fusion"], found["tuning_id"]) == ([], "")
    assert (found["candidates"][0]["path"], found["candidates"][0]["blob"]) == ("p", None)

    stored = tables.traces(home).path("2026-01-01")
    stored.parent.mkdir(parents=True)
    old = (
        pq.read_table(tables.traces(home).path(_DAY))
        .drop_columns(["lags", "model", "fusion", "tuning_id"])
        .replace_schema_metadata(None)
    )
    pq.write_table(old, stored)
    assert tables.upgrade(tables.traces(home)) == ["2026-01-01"]
    assert tables.upgrade(tables.traces(home)) == []
    (again,) = pq.read_table(stored).to_pylist()
    assert (again["trace_id"], again["lags"], again["model"]) == (found["trace_id"], [], "")
    assert (again["fusion"], again["tuning_id"]) == ([], "")
    pq.write_table(old, tables.traces(home).path(_DAY))
    assert tables.compact(tables.traces(home), _DAY).lost == 0
    assert _stored(home) == ["old"]


@pytest.mark.parametrize(
    ("drifted", "column", "stored"),
    [
        ({"of_a_newer_version": {"x": [1]}}, "query", "drifted"),
        ({"tokens_in": "many"}, "tokens_in", 0),
        ({"tokens_in": 2**40}, "tokens_in", 0),
        ({"limits": "cut"}, "limits", []),
        ({"candidates": "none"}, "candidates", []),
        ({"stages": None, "query": None}, "query", ""),
        ({"latency_ms": [1]}, "latency_ms", []),
    ],
)
def test_a_row_of_another_shape_is_kept_without_what_does_not_fit(
    home: Home, drifted: dict[str, object], column: str, stored: object
) -> None:
    path = _write(home, _trace("whole"), _trace("drifted", _AT + timedelta(seconds=1)))
    whole, row = map(orjson.loads, path.read_bytes().splitlines())
    path.write_bytes(orjson.dumps(whole) + b"\n" + orjson.dumps(row | drifted) + b"\n")
    done = tables.compact(tables.traces(home), _DAY)
    assert (done.rows, done.lost, done.torn) == (2, 0, 0)
    kept = pq.read_table(tables.traces(home).path(_DAY)).to_pylist()
    assert (kept[0]["query"], kept[1]["trace_id"], kept[1][column]) == ("whole", row["trace_id"], stored)


def test_a_clock_that_jumps_over_midnight_and_back_loses_nothing(home: Home) -> None:
    midnight = datetime(2026, 1, 3, tzinfo=UTC)
    jumps = [-2, 1, -1, 2, -3]  # seconds from midnight, in the order in which one worker wrote them
    _write(home, *(_trace(str(jump), midnight + timedelta(seconds=jump)) for jump in jumps))
    done = [tables.compact(tables.traces(home), day) for day in journal.days(home.trace_journal)]
    assert [(one.rows, one.lost, one.torn, one.misdated) for one in done] == [(3, 0, 0, 0), (2, 0, 0, 0)]
    assert (_stored(home), _stored(home, "2026-01-03")) == (["-3", "-2", "-1"], ["1", "2"])


@pytest.mark.e2e
def test_a_compaction_that_meets_a_full_disk_leaves_the_table_and_the_next_completes(home: Home) -> None:
    """A limit on the size of files stands in for the full disk."""
    table = tables.traces(home)
    _write(home, _trace("stored"))
    tables.compact(table, _DAY)
    before = table.path(_DAY).read_bytes()
    _write(home, *(_trace(f"more {number}") for number in range(50)))
    script = (
        "import resource, signal, sys; from pathlib import Path; from codeintel_core.home import Home\n"
        "from codeintel_core.traces import tables; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))\n"
        "tables.compact(tables.traces(Home(Path(sys.argv[1]))), sys.argv[2])"
    )
    run = [sys.executable, "-c", script, str(home.root), _DAY]
    failed = subprocess.run(run, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert "OSError" in failed.stderr
    assert table.path(_DAY).read_bytes() == before
    assert tables.compact(table, _DAY).lost == 0
    assert len(_stored(home)) == 51


def test_one_compaction_at_a_time(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    table, tried = tables.traces(home), []
    _write(home, _trace("a"))
    write = tables._write

    def look(*arguments: object) -> None:
        with table.lock.open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tried.append(True)
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(tables, "_write", look)  # the moment in which another could come in between
    tables.compact(table, _DAY)
    assert tried == [True]
    with table.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_candidates_of_version_2_become_channels_wherever_they_are(home: Home) -> None:
    """A journal, a day that is compacted again and a day that is upgraded say the same."""
    found = {"chunk_id": 1, "repo": "r", "path": "p", "blob": "b", "symbol": "", "start_line": 1, "end_line": 2,
             "rank": 1, "score": 1.0, "fused": 1.0, "cited": False, "citation": 0}  # fmt: skip
    ranks = {"dense_rank": 3, "dense_score": 0.5, "lexical_rank": 0, "lexical_score": 0.0}
    channels = [{"channel": "dense", "rank": 3, "score": 0.5}]
    path = _write(home, _trace("old", candidates=[found | ranks, found | dict.fromkeys(ranks)]))
    expected = [found | {"channels": channels}, found | {"channels": []}]
    table = tables.traces(home)
    assert lookup.find(home, [_DAY], "r", "t")["candidates"] == expected
    assert tables.read_day(table, _DAY)["candidates"].to_pylist() == [expected]

    (row,) = tables.read_day(table, _DAY).to_pylist()
    kind = pa.list_(pa.struct({name: pa.infer_type([value]) for name, value in (found | ranks).items()}))
    old = pa.schema([field.with_type(kind) if field.name == "candidates" else field for field in ANSWER_TRACES])
    table.path(_DAY).parent.mkdir(parents=True)
    stored = pa.Table.from_pylist([row | {"candidates": [found | ranks, found | dict.fromkeys(ranks)]}], schema=old)
    pq.write_table(stored, table.path(_DAY))
    path.unlink()
    assert lookup.find(home, [_DAY], "r", "t")["candidates"] == expected
    assert tables.compact(table, _DAY).lost == 0
    assert pq.read_table(table.path(_DAY))["candidates"].to_pylist() == [expected]
    pq.write_table(stored, table.path(_DAY))
    assert tables.upgrade(table) == [_DAY]
    assert pq.read_table(table.path(_DAY))["candidates"].to_pylist() == [expected]


def test_a_journal_goes_on_in_a_new_file_when_one_is_full(tmp_path: Path) -> None:
    writer = Journal(tmp_path, max_bytes=50)
    assert all(writer.append(_AT, {"number": number, "text": "x" * 20}) for number in range(5))
    writer.close()
    files = journal.files(tmp_path, _DAY)
    assert len(files) > 1
    numbers = [orjson.loads(line)["number"] for path in files for line in path.read_bytes().splitlines()]
    assert sorted(numbers) == [0, 1, 2, 3, 4]


def test_texts_that_the_settings_leave_out_are_nowhere(home: Home) -> None:
    path = _write(home, _trace("private words"), queries=False, answers=False)
    assert b"private" not in path.read_bytes()
    tables.compact(tables.traces(home), _DAY)
    (row,) = pq.read_table(tables.traces(home).path(_DAY)).to_pylist()
    assert (row["query"], row["answer"], len(row["query_digest"])) == ("", "", 16)
    other = _write(home, _trace(" private words\n"))
    assert orjson.loads(other.read_bytes())["query_digest"] == row["query_digest"], "equal questions count together"


def test_feedback_is_stored_like_traces(home: Home) -> None:
    writer = Journal(home.feedback_journal)
    assert Feedback(run_id="r", kind="wrong", citation=2, note="outdated", given_at=_AT).write(writer)
    writer.close()
    assert tables.compact(tables.feedback(home), _DAY).rows == 1
    (row,) = pq.read_table(tables.feedback(home).path(_DAY)).to_pylist()
    assert (row["run_id"], row["kind"], row["citation"], row["note"]) == ("r", "wrong", 2, "outdated")


def test_a_day_is_deleted_while_a_query_streams(home: Home) -> None:
    table = tables.traces(home)
    days = [_AT + timedelta(days=number) for number in range(4)]
    for at in days:
        _write(home, _trace("kept", at))
        tables.compact(table, f"{at:%Y-%m-%d}")
    db = duckdb.connect()
    db.execute("SET threads = 1")
    stream = db.sql("SELECT query FROM read_parquet(?)", params=[table.glob]).to_arrow_reader(1)
    first = stream.read_next_batch()
    assert tables.expire(table, days[3].date()) == [f"{at:%Y-%m-%d}" for at in days[:3]]
    rest = stream.read_all()
    assert 2 <= first.num_rows + rest.num_rows <= 4  # at least the day it had begun with, and the one that is kept
    assert db.execute("SELECT count(*) FROM read_parquet(?)", [table.glob]).fetchone() == (1,)


def test_retention_empties_old_days_first_and_removes_them_later(home: Home) -> None:
    table = tables.traces(home)
    old = datetime(2025, 1, 2, tzinfo=UTC)
    for at in (old, _AT):
        _write(home, _trace("kept", at))
        tables.compact(table, f"{at:%Y-%m-%d}")
    (home.ledger / "date=2025-01-02").mkdir(parents=True)
    (home.ledger / "date=2026-01-02").mkdir()
    today = date(2026, 1, 3)
    db = duckdb.connect()
    listed = db.execute("SELECT query FROM read_parquet(?)", [table.glob])  # a query that has begun
    dry = retention.expire(home, today, trace_days=100, ledger_days=30, dry_run=True)
    done = retention.expire(home, today, trace_days=100, ledger_days=30)
    assert done == dry
    assert (done.traces, done.ledgers) == (["2025-01-02"], ["2025-01-02"])
    assert len(listed.fetchall()) in (1, 2)
    assert db.execute("SELECT count(*) FROM read_parquet(?)", [table.glob]).fetchone() == (1,)
    assert retention.expire(home, today, trace_days=100, ledger_days=30).traces == []
    assert [path.parent.name for path in table.files()] == ["date=2026-01-02"]
    assert [folder.name for folder in home.ledger.iterdir()] == ["date=2026-01-02"]
