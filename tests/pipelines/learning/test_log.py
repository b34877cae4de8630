"""From journals to judgements to the log: what was opened, said or done later, and what must not be learned from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import duckdb
import pytest

from codeintel_core.home import Home
from codeintel_core.retrieval.tuning import Factors, tuned_weights
from codeintel_core.settings import Settings
from codeintel_core.traces import journal, tables
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import AnswerTrace, Feedback, TraceJournal
from codeintel_pipelines.analytics import database
from codeintel_pipelines.learning.log import Shown, read
from codeintel_pipelines.learning.simulator import People, World, simulate, store

_AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
_FACTORS = {"identifier": {"lexical": 2.0, "symbols": 0.5}}


@pytest.fixture
def home(tmp_path: Any) -> Home:
    return Home(tmp_path)


def _views(home: Home) -> duckdb.DuckDBPyConnection:
    for table in tables.every(home):
        for day in journal.days(table.journals):
            tables.compact(table, day)
    connection = duckdb.connect()
    database.create_views(connection, home, Settings(home=home.root))
    return connection


def _read(home: Home, kept: Mapping[str, Factors] | None = None, without: tuple[str, ...] = ()) -> list[Shown]:
    with closing(_views(home)) as connection:
        return sorted(read(connection, kept or {"": {}}, without), key=lambda row: (row.at, row.session))


def test_simulated_sessions_come_back_as_they_were(home: Home) -> None:
    told = simulate(People(World.LEANING, sessions=12), seed=3)
    store(home, told)
    for before, after in zip(told, _read(home), strict=True):
        assert (after.session, after.at, after.kind, after.clicks) == (
            before.session, before.at, before.kind, before.clicks,
        )  # fmt: skip
        assert after.defaults == pytest.approx({name: before.defaults[name] for name in after.defaults})
        for ours, theirs in zip(after.hits, before.hits, strict=True):
            assert ours[:2] == theirs[:2]
            assert ours[2] == pytest.approx(theirs[2])


def _trace(home: Home, run_id: str, session: str = "s", minutes: float = 0, **fields: Any) -> None:
    trace = AnswerTrace(
        run_id=run_id, session_id=session, otel_trace_id="", operation="answer", surface="rest",
        asked_at=_AT + timedelta(minutes=minutes), query=run_id, scope="{}", mode="auto", retrieval_budget_ms=1,
        total_budget_ms=1, trace_id=run_id, query_kind="identifier",
    )  # fmt: skip
    names = fields.pop("channels", ("lexical", "dense"))
    trace.fusion = [{"channel": name, "weight": 0.5, "low": 0.0, "high": 2.0} for name in names]
    trace.candidates = [
        {"chunk_id": rank, "repo": "r", "path": path, "start_line": 1, "end_line": 2, "rank": rank, "score": 1 / rank,
         "fused": 1.0, "cited": rank <= 2, "citation": rank if rank <= 2 else 0,
         "channels": [{"channel": "dense", "rank": rank, "score": 1.0}]}
        for rank, path in enumerate(("a.py", "b.py", "c.py", "a.py"), 1)
    ]  # fmt: skip
    for name, changed in fields.items():
        setattr(trace, name, changed)
    with closing(TraceJournal(home.trace_journal)) as to:
        to.write(trace)


def _said(home: Home, kind: str, minutes: float = 1, *, run_id: str = "one", **fields: Any) -> None:
    with closing(Journal(home.feedback_journal)) as to:
        Feedback(run_id, kind, given_at=_AT + timedelta(minutes=minutes), **fields).write(to)


def _judgements(home: Home) -> dict[tuple[str, str], float]:
    with closing(_views(home)) as connection:
        rows = connection.execute("SELECT trace_id, path, weight FROM judgements").fetchall()
    return {(trace_id, path): weight for trace_id, path, weight in rows}


def test_a_read_counts_for_the_last_request_of_its_session_that_showed_the_file(home: Home) -> None:
    _trace(home, "one")
    _trace(home, "two", minutes=5)
    _trace(home, "other", session="else")
    here = {"run_id": "its own", "repo": "r"}
    _said(home, "read", 6, session_id="s", path="c.py", **here)
    _said(home, "read", 2, session_id="s", path="b.py", **here)
    _said(home, "read", 16, session_id="s", path="a.py", **here)  # too late
    _said(home, "read", 6, session_id="s", path="hidden.py", **here)  # not shown
    _said(home, "read", 6, session_id="", path="a.py", **here)  # of nobody
    assert _judgements(home) == {("two", "c.py"): 0.3, ("one", "b.py"): 0.3}
    with closing(_views(home)) as connection:
        (report,) = (one for one in database.reports() if one.name == "feedback_by_answer")
        rows = connection.execute(f"SELECT run_id, useful, read_next FROM ({report.sql})").fetchall()
    assert sorted(rows) == [("one", 0, 1), ("two", 0, 1)]


def test_what_is_said_outweighs_what_is_done(home: Home) -> None:
    _trace(home, "one")
    _said(home, "useful", citation=1, repo="r", path="a.py")
    _said(home, "opened", citation=2, repo="r", path="b.py")
    _said(home, "wrong", citation=2, repo="r", path="b.py")
    _said(home, "read", run_id="x", session_id="s", repo="r", path="b.py")
    assert _judgements(home) == {("one", "a.py"): 1.0, ("one", "b.py"): -0.25}
    (row,) = _read(home)
    assert row.clicks == {"r:a.py": 1.0}
    assert [file for file, _, _ in row.hits] == ["r:a.py", "r:b.py", "r:c.py", "r:a.py"]
    assert row.hits[0][2] == {"dense": 0.5}


def test_a_whole_answer_is_half_as_much_about_each_file_it_cites(home: Home) -> None:
    _trace(home, "one", session="")
    _said(home, "wrong")
    assert _judgements(home) == {("one", "a.py"): -0.5, ("one", "b.py"): -0.5}
    assert _read(home) == []


def test_weights_that_were_tuned_then_are_undone(home: Home) -> None:
    used = tuned_weights({"lexical": 0.6, "dense": 0.4}, {"lexical": 2.0})
    fusion = [{"channel": name, "weight": weight, "low": 0.0, "high": 1.0} for name, weight in used.items()]
    _trace(home, "one", fusion=fusion, tuning_id="t")
    _said(home, "useful", citation=1, repo="r", path="a.py")
    (row,) = _read(home, {"": {}, "t": _FACTORS})
    assert row.defaults == pytest.approx({"lexical": 0.6, "dense": 0.4})
    assert row.weights == pytest.approx(used)
    assert _read(home) == [], "its document is not kept"


@pytest.mark.parametrize(
    "fields", [{"mode": "lexical"}, {"channels": ("lexical",)}, {"channels": ()}, {"query": "a golden query"}]
)
def test_what_must_not_be_learned_from_is_left_out(home: Home, fields: dict[str, Any]) -> None:
    golden = sha256(b"a golden query").hexdigest()[:16]
    _trace(home, "one", **fields)
    _trace(home, "two", session="s2")
    for run_id in ("one", "two"):
        _said(home, "useful", run_id=run_id, citation=1, repo="r", path="a.py")
    assert [row.session for row in _read(home, without=(golden,))] == ["s2"]


def test_reranked_answers_are_left_out(home: Home) -> None:
    as_fused, reranked = simulate(People(World.BLIND, sessions=2), seed=0)
    store(home, [as_fused, replace(reranked, hits=list(reranked.hits)[::-1])])
    assert [row.session for row in _read(home)] == [as_fused.session]
