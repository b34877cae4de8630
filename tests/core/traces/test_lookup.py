"""The trace row of a run: found in a journal, and the same row in the day's table once the journal is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from codeintel_core.home import Home
from codeintel_core.traces import journal, lookup, tables
from codeintel_core.traces.record import AnswerTrace, TraceJournal

_DAYS = ["2026-01-02", "2026-01-03"]
_AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def _trace(query: str, at: datetime = _AT, *, run_id: str = "r", otel_trace_id: str = "t") -> AnswerTrace:
    return AnswerTrace(
        run_id=run_id, session_id="", otel_trace_id=otel_trace_id, operation="answer", surface="rest", asked_at=at,
        query=query, scope="{}", mode="hybrid", retrieval_budget_ms=400, total_budget_ms=2000,
        latency_ms={"total": 12.5}, stages=[{"name": "rerank", "status": "ok", "reason": "", "start_ms": 0.0, "ms": 1}],
    )  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    writer = TraceJournal(home.trace_journal)
    for trace in (
        _trace("first"), _trace("again", _AT + timedelta(hours=1)), _trace("of another request", otel_trace_id="u"),
        _trace("of another run", run_id="r2"), _trace("past midnight", _AT + timedelta(days=1), run_id="late"),
    ):  # fmt: skip
        assert writer.write(trace)
    writer.close()
    return home


def test_the_last_row_of_the_run_and_request_is_meant(home: Home) -> None:
    assert lookup.find(home, _DAYS, "r", "t")["query"] == "again"
    assert lookup.find(home, _DAYS, "late", "t")["query"] == "past midnight"
    assert lookup.find(home, _DAYS[:1], "late", "t") == {}
    assert lookup.find(home, _DAYS, "unknown", "t") == {}


def test_a_row_is_the_same_after_its_journal_was_compacted_and_removed(home: Home) -> None:
    before = lookup.find(home, _DAYS, "r", "t")
    assert before["confidence"] is None
    for day in _DAYS:
        tables.compact(tables.traces(home), day)
        for path in journal.files(home.trace_journal, day):
            path.unlink()
    assert lookup.find(home, _DAYS, "r", "t") == before


def test_torn_lines_and_old_rows_are_read(home: Home) -> None:
    path = journal.files(home.trace_journal, _DAYS[0])[0]
    path.write_bytes(b'{"run_id": "old", "otel_trace_id": "t", "asked_at": "2026-01-02T00:00:00+00:00"}\n{"run_id": "r')
    assert lookup.find(home, _DAYS, "old", "t")["candidates"] == []
    assert lookup.find(home, _DAYS, "r", "t") == {}
