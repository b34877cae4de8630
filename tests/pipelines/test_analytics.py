"""From trace journals to DuckDB: every row once, torn lines survived, views that unnest, readers never blocked."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pytest

from benchmarks import fake_encoder, plain_build
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Run, Status, StepRecord
from codeintel_core.telemetry.position import Trace
from codeintel_core.traces import tables
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import AnswerTrace, Feedback, TraceJournal
from codeintel_pipelines import runs
from codeintel_pipelines.analytics import database
from tests.conftest import Repo

pytestmark = pytest.mark.e2e


def _trace(query: str, at: datetime) -> AnswerTrace:
    trace = AnswerTrace(
        run_id=f"run-{query}", session_id="", otel_trace_id="0" * 32, operation="search", surface="cli", asked_at=at,
        query=query, scope="{}", mode="hybrid", retrieval_budget_ms=400, total_budget_ms=2000,
    )  # fmt: skip
    trace.candidates = [
        {"chunk_id": 7, "repo": "r", "path": "a.py", "start_line": 1, "end_line": 2, "rank": 1, "score": 0.5,
         "fused": 0.4, "channels": [{"channel": "dense", "rank": 1, "score": 0.9}], "cited": True}
    ]  # fmt: skip
    run = Run("search", trace.run_id, "", Trace(trace.otel_trace_id), None)
    run.steps = [StepRecord("retrieve.dense", Status.TIMED_OUT, "late", 0.5, 400.0, {})]
    return trace.close(run)


def test_journals_become_views(home: Home) -> None:
    today = datetime.now(UTC)
    for worker in range(2):
        journal = TraceJournal(home.trace_journal)
        for number in range(5):
            assert journal.write(_trace(f"q{worker}{number}", today))
        journal.close()
    some = next(home.trace_journal.rglob("*.jsonl"))
    some.write_bytes(some.read_bytes() + some.read_bytes().split(b"\n")[0] + b'\n{"trace_id": "torn')
    assert runs.refresh_analytics(home) == [f"{today:%Y-%m-%d}"]
    with duckdb.connect(str(home.analytics), read_only=True) as db:
        count = db.execute("SELECT count(*), count(DISTINCT trace_id) FROM answers").fetchone()
        assert count == (10, 10)
        stages = db.execute("SELECT DISTINCT stage, status, reason, ms FROM stages").fetchall()
        assert stages == [("retrieve.dense", "timed_out", "late", 400.0)]
        hits = db.execute("SELECT DISTINCT path, rank, channel, channel_rank, cited FROM channel_hits").fetchall()
        assert hits == [("a.py", 1, "dense", 1, True)]
        stopped = db.execute("SELECT DISTINCT stopped_because FROM answers").fetchall()
        assert stopped == [("retrieve.dense timed_out: late",)]
        # The database is replaced, not rewritten: this reader goes on while the next refresh runs.
        runs.refresh_analytics(home)
        assert db.execute("SELECT count(*) FROM answers").fetchone() == (10,)


def test_feedback_about_runs_of_other_machines_counts_where_its_caller_sees_them(home: Home) -> None:
    now, journal, said = datetime.now(UTC), TraceJournal(home.trace_journal), Journal(home.feedback_journal)

    def searched(run: str, *repos: str) -> None:
        trace = _trace(run, now)
        trace.generations = [{"repo": repo, "gen_id": "g", "commit": "c", "dagster_run_id": "d"} for repo in repos]
        trace.candidates = [{**trace.candidates[0], "citation": 2}]
        assert journal.write(trace)

    def say(feedback_id: str, run: str, sees: tuple[str, ...], citation: int = 0) -> None:
        assert Feedback(f"run-{run}", "useful", citation=citation, sees=sees, feedback_id=feedback_id).write(said)

    searched("both", "shop", "attic")
    searched("again", "shop")
    searched("again", "attic")  # another request under the same id
    searched("nothing")
    say("checked", "never-kept", ())
    say("cited", "both", ("sh?p", "at*"), citation=2)
    say("whole", "nothing", ("*",))
    say("uncited", "both", ("*",), citation=1)
    say("partly", "both", ("shop",))
    say("partly-again", "again", ("shop",))
    say("none-seen", "nothing", ("shop",))
    say("not-arrived", "later", ("*",))
    journal.close()
    said.close()
    for table in tables.every(home):
        tables.compact(table, f"{now:%Y-%m-%d}")
    with duckdb.connect() as db:
        database.create_views(db, home, Settings(home=home.root))
        counts = db.execute("SELECT feedback_id, repo, path FROM feedback ORDER BY ALL").fetchall()
        assert counts == [("checked", "", ""), ("cited", "r", "a.py"), ("whole", "", "")]
        judged = db.execute("SELECT DISTINCT run_id, path, kinds FROM judgements ORDER BY ALL").fetchall()
        assert judged == [("run-both", "a.py", ["useful"]), ("run-nothing", "a.py", ["useful"])]
        waiting = db.execute("SELECT feedback_id FROM feedback_waiting ORDER BY ALL").fetchall()
        assert [name for (name,) in waiting] == ["none-seen", "not-arrived", "partly", "partly-again", "uncited"]


def test_without_any_trace_the_views_are_empty(home: Home) -> None:
    assert runs.refresh_analytics(home) == []
    with duckdb.connect(str(home.analytics), read_only=True) as db:
        for view in ("answers", "stages", "candidates"):
            assert db.execute(f"SELECT count(*) FROM {view}").fetchone() == (0,)


def test_views_read_every_part_of_the_served_generations(home: Home, source: Repo) -> None:
    source.commit({f"src/m{number}.py": f"def part_{number}():\n    return {number}\n" for number in range(140)})
    for name in ("calculator", "twin"):
        mirror.add(home, str(source.path), name=name)
        with fake_encoder.used_by_builds():
            built = plain_build.build(home, Settings(home=home.root), name)
    folder = home.repository("twin").generation(built.gen_id)
    assert len(list((folder / "chunks.parquet").iterdir())) > 1
    assert (folder / "files.parquet").is_file()
    with duckdb.connect() as db:
        database.create_views(db, home, Settings(home=home.root))
        for table in ("chunks", "symbols", "files"):
            found = db.execute(f"SELECT repo, count(*) FROM {table} GROUP BY repo ORDER BY repo").fetchall()
            wanted = getattr(built.counts, table)
            assert wanted > 0
            assert found == [("calculator", wanted), ("twin", wanted)]
        query = "SELECT count(*) FROM chunks JOIN files USING (repo, path, blob)"
        assert db.execute(query).fetchone() == (2 * built.counts.chunks,)
