"""Every report says what a small, hand-made history of requests says; each would fail if its query were wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import AnswerTrace, Feedback, TraceJournal
from codeintel_pipelines.analytics import database
from codeintel_pipelines.analytics.statements import statements

_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_GENERATION = {"repo": "r", "gen_id": "g1", "commit": "c1", "dagster_run_id": "d1"}


def _hit(path: str, rank: int, *, citation: int = 0, **ranks: int) -> dict[str, Any]:
    return {
        "chunk_id": ord(path[0]), "repo": "r", "path": path, "blob": f"blob-{path}", "symbol": f"S.{path}",
        "start_line": 1, "end_line": 9, "rank": rank, "score": 1.0, "fused": 1.0,
        "channels": [{"channel": channel, "rank": there, "score": 1 / there} for channel, there in ranks.items()],
        "cited": citation > 0, "citation": citation,
    }  # fmt: skip


def _stage(name: str, ms: float, status: str = "completed", reason: str = "") -> dict[str, Any]:
    return {"name": name, "status": status, "reason": reason, "start_ms": 0.0, "ms": ms}


def _answer(run_id: str, *, query: str, total_ms: float, stages: list[dict[str, Any]], **columns: Any) -> AnswerTrace:
    defaults = {"operation": "answer", "status": "ok", "model": "m", "confidence": 0.9, "session_id": "s"}
    return AnswerTrace(
        run_id=run_id, otel_trace_id="t", surface="rest", asked_at=_AT, query=query, scope="{}", mode="hybrid",
        retrieval_budget_ms=400, total_budget_ms=2000, generations=[_GENERATION], stages=stages,
        latency_ms={"total": total_ms}, **{**defaults, **columns},
    )  # type: ignore[arg-type]  # fmt: skip


HISTORY = [
    _answer(
        "one", query="where?", total_ms=100, tokens_in=1000, tokens_out=100, time_to_first_token_ms=50.0,
        tokens_per_second=20.0, citations_verified=2, citations_dropped=1,
        stages=[_stage("retrieve.dense", 10), _stage("rerank", 0, "skipped", "not configured")],
        candidates=[_hit("a.py", 1, dense=1, lexical=2, citation=1), _hit("b.py", 2, dense=2, citation=2)],
        lags=[{"repo": "r", "commits_behind": 3, "minutes_behind": 30.0}],
    ),
    _answer(
        "two", query="where?", total_ms=3000, confidence=0.1, limits=["dense channel timed out"], citations_verified=2,
        stages=[_stage("retrieve.dense", 30, "timed_out", "late")],
        candidates=[_hit("b.py", 1, lexical=1, sparse=3, citation=1), _hit("a.py", 2, lexical=2, citation=2)],
        lags=[{"repo": "r", "commits_behind": 0, "minutes_behind": 0.0}],
    ),
    _answer("three", query="nothing", total_ms=20, operation="search", status="empty", stages=[], model=""),
    _answer("four", query="bad", total_ms=5, operation="search", status="error", error="x", stages=[], model=""),
]  # fmt: skip
EXPECTED: dict[str, tuple[str, Any]] = {
    "daily_volume": ("SELECT operation, requests, sessions, ok, empty, errors FROM daily_volume",
                     [("answer", 2, 1, 2, 0, 0), ("search", 2, 1, 0, 1, 1)]),
    "stage_latency": ("SELECT steps, p50_ms, failed_share FROM stage_latency WHERE stage = 'retrieve.dense'",
                      [(2, 20.0, 0.5)]),
    "zero_hit_queries": ("SELECT query, asked FROM zero_hit_queries", [("nothing", 1)]),
    "low_confidence_queries": ("SELECT query, asked, confidence FROM low_confidence_queries", []),
    "channel_contribution": (
        "SELECT channel, hits, only_hits, first_hits, cited, only_cited FROM channel_contribution",
        [("dense", 2, 1, 1, 2, 1), ("lexical", 3, 1, 2, 3, 1), ("sparse", 1, 0, 1, 1, 0)]),
    "fallbacks": ("SELECT stage, status, reason, requests, share FROM fallbacks ORDER BY stage",
                  [("rerank", "skipped", "not configured", 1, 0.5), ("retrieve.dense", "timed_out", "late", 1, 0.5)]),
    "citation_verification": ("SELECT answers, verified, dropped, dropped_share, uncited FROM citation_verification",
                              [(2, 4, 1, 0.2, 0)]),
    "answer_quality": (
        "SELECT requests, answers, confidence, p10_confidence, citations_verified, citations_dropped, zero_hit_share, "
        "error_share FROM answer_quality", [(4, 2, 0.5, 0.18, 4, 1, 0.25, 0.25)]),
    "token_use": ("SELECT model, answers, tokens_in, tokens_out, first_token_p50_ms, price FROM token_use",
                  [("m", 2, 1000, 100, 50.0, 0.0012)]),
    "cost_per_answer": ("SELECT operation, requests, round(seconds, 4), price FROM cost_per_answer",
                        [("answer", 2, 1.55, 0.0006), ("search", 2, 0.0125, 0.0)]),
    "hot_files": ("SELECT path, cited, shown, requests FROM hot_files", [("a.py", 2, 2, 2), ("b.py", 2, 2, 2)]),
    "hot_symbols": ("SELECT symbol, cited, shown FROM hot_symbols", [("S.a.py", 2, 2), ("S.b.py", 2, 2)]),
    "cocitations": ("SELECT path_a, path_b, together, lift FROM cocitations", [("a.py", "b.py", 2, 1.0)]),
    "slo_attainment": ("SELECT objective, requests, good FROM slo_attainment",
                       [("first token in budget", 2, 1), ("no error", 4, 3), ("nothing degraded", 3, 2),
                        ("search in budget", 1, 1)]),
    "index_freshness": ("SELECT repo, requests, fresh_share, p50_minutes_behind, most_commits_behind "
                        "FROM index_freshness", [("r", 2, 0.5, 15.0, 3)]),
    "stale_answers": ("SELECT run_id, path, current_blob FROM stale_answers ORDER BY run_id",
                      [("one", "a.py", "changed"), ("two", "a.py", "changed")]),
    "feedback_by_answer": ("SELECT run_id, useful, wrong, opened, notes FROM feedback_by_answer",
                           [("one", 1, 0, 1, ["thanks"])]),
}  # fmt: skip


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    home = Home(tmp_path_factory.mktemp("home"))
    writer = TraceJournal(home.trace_journal)
    assert all(writer.write(trace) for trace in HISTORY)
    judged = Journal(home.feedback_journal)
    for feedback in (Feedback("one", "useful", note="thanks", given_at=_AT), Feedback("one", "opened", given_at=_AT)):
        assert feedback.write(judged)
    for table in tables.every(home):
        tables.compact(table, "2026-01-02")
    settings = Settings(home=home.root, price_per_mtoken_in=1.0, price_per_mtoken_out=2.0)
    with duckdb.connect() as db:
        database.create_views(db, home, settings)
        # What is served now: b.py as it was cited, a.py changed. Real generations are in test_analytics.
        db.execute("INSERT INTO files (repo, path, blob) VALUES ('r', 'a.py', 'changed'), ('r', 'b.py', 'blob-b.py')")
        db.execute("INSERT INTO generations (repo, gen_id, is_served) VALUES ('r', 'g2', true)")
        for report in database.reports():
            database.write_report(db, report, home)
    with duckdb.connect() as db:
        database.create_views(db, home, settings)
        counts = database.add_reports_and_macros(db, home)
        assert counts["traces"] == len(HISTORY)
        yield db


def test_every_report_is_tested() -> None:
    assert EXPECTED.keys() == {report.name for report in database.reports()}


@pytest.mark.parametrize("name", EXPECTED)
def test_report(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    query, expected = EXPECTED[name]
    found = connection.execute(query).fetchall()
    assert found == [
        tuple(pytest.approx(value) if isinstance(value, float) else value for value in row) for row in expected
    ]


def test_citations_lead_to_commit_and_dagster_run(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT citation, path, \"commit\", gen_id, dagster_run_id FROM citations WHERE run_id = 'two' ORDER BY 1"
    assert connection.execute(query).fetchall() == [(1, "b.py", "c1", "g1", "d1"), (2, "a.py", "c1", "g1", "d1")]


def test_a_channel_hit_has_its_rank_and_score_there(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT path, rank, channel, channel_rank, channel_score, is_only FROM channel_hits WHERE run_id = 'two'"
    assert connection.execute(f"{query} ORDER BY rank, channel").fetchall() == [
        ("b.py", 1, "lexical", 1, 1.0, False), ("b.py", 1, "sparse", 3, pytest.approx(1 / 3), False),
        ("a.py", 2, "lexical", 2, 0.5, True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("macro", "call", "rows"),
    [
        ("trace_of", "trace_of('one')", 2),
        ("latency", "latency('rerank', 7)", 1),
        ("asked_like", "asked_like('WHERE')", 2),
    ],
)
def test_macros_answer(connection: duckdb.DuckDBPyConnection, macro: str, call: str, rows: int) -> None:
    assert macro in {one.name for one in statements("macros")}
    assert len(connection.execute(f"FROM {call}").fetchall()) == rows


def test_statements_say_what_they_are() -> None:
    for kind in ("views", "reports", "macros"):
        for one in statements(kind):
            assert one.description.endswith((".", ")")), one.name


def test_a_path_with_a_quote_is_a_path(tmp_path: Path) -> None:
    home = Home(tmp_path / "o'brien")
    with duckdb.connect() as db:
        database.create_views(db, home, Settings(home=home.root))
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM ledger").fetchone() == (0,)
