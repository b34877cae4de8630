"""Traces of some days, compacted, and the analysts' database over them, without Dagster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb

from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_core.traces import journal, tables
from codeintel_core.traces.record import AnswerTrace, TraceJournal
from codeintel_pipelines.analytics import database

FIRST = datetime(2026, 3, 1, 9, tzinfo=UTC)
HOSTILE = "<img src=x onerror=globalThis.pwned=9> \u202eevil"
_STAGES = {"retrieve.dense": 3.0, "retrieve.lexical": 5.0, "rerank": 2.0, "synthesize": 40.0}


def traces(days: int) -> Iterator[AnswerTrace]:
    """Some requests a day, none on the third; deterministic."""
    for day in range(days):
        for number in range(0 if day == 2 else 6 + day % 5):
            is_answer, is_empty = number % 2 == 0, number == 3
            slow = 1 + day / 10 + number / 5
            stages = [
                {"name": name, "status": "completed", "reason": "", "start_ms": 0.0, "ms": ms * slow}
                for name, ms in _STAGES.items()
            ]
            yield AnswerTrace(
                trace_id=f"{day}-{number}", run_id=f"run-{day}-{number}", session_id="", otel_trace_id="",
                surface="rest", scope="{}", mode="hybrid",
                operation="answer" if is_answer else "search", asked_at=FIRST + timedelta(days=day, minutes=number),
                query=HOSTILE if is_empty else f"how is generation {number} published?", query_kind="natural",
                retrieval_budget_ms=400, total_budget_ms=2000, stages=stages,
                latency_ms={"total": sum(stage["ms"] for stage in stages)},
                confidence=(0.3 if number == 4 else 0.5 + day % 5 / 10) if is_answer else float("nan"),
                citations_verified=3 if is_answer else 0, citations_dropped=int(is_answer and number == 4),
                generations=[{"repo": "shop", "gen_id": "g", "commit": "c" * 40, "dagster_run_id": "d" * 36}],
                candidates=[] if is_empty else [_hit(rank, cited=is_answer) for rank in (1, 2, 3)],
                model="extractive" if is_answer else "", status="empty" if is_empty else "ok",
            )  # type: ignore[arg-type]  # fmt: skip


def _hit(rank: int, *, cited: bool) -> dict[str, object]:
    names = ("dense", "lexical") if rank == 1 else ("lexical",)
    return {
        "chunk_id": rank, "repo": "shop", "path": f"store/file{rank}.py", "blob": "b", "symbol": "f", "start_line": 1,
        "end_line": 9, "rank": rank, "score": 1 / rank, "fused": 1 / rank, "cited": cited, "citation": rank * cited,
        "channels": [{"channel": name, "rank": rank, "score": 1.0} for name in names],
    }  # fmt: skip


def write(home: Home, days: int) -> None:
    """Journal and compact `days` days, then write the database."""
    writer = TraceJournal(home.trace_journal)
    assert all(writer.write(trace) for trace in traces(days))
    writer.close()
    for day in journal.days(home.trace_journal):
        tables.compact(tables.traces(home), day)
    write_database(home)


def write_database(home: Home) -> None:
    """Write codeintel.duckdb anew beside the old one, and replace it at once, as the asset does."""
    pending = home.analytics.with_suffix(".next.duckdb")
    pending.parent.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(pending)) as db:
        database.create_views(db, home, Settings(home=home.root))
        for report in database.reports():
            database.write_report(db, report, home)
        database.add_reports_and_macros(db, home)
    os.replace(pending, home.analytics)


def without(path: Path, table: str) -> None:
    """Drop a table of the database."""
    with duckdb.connect(str(path)) as db:
        db.execute(f"DROP TABLE {table}")
