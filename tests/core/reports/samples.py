"""Recorded runs for the report tests: real ledgers, written by real runs and steps."""

from __future__ import annotations

from typing import Any

from codeintel_core.home import Home
from codeintel_core.reports.model import RunReport
from codeintel_core.reports.run_report import run_report
from codeintel_core.telemetry import Status, run, step
from codeintel_core.traces.record import AnswerTrace, TraceJournal

Steps = dict[str, dict[str, Any]]
"""kind -> attributes; `ends` holds status, reason and detail when it does not complete."""

HEALTHY: Steps = {
    "scope.resolve": {"repos": 1, "paths": 0, "languages": 0, "leaves_out": False, "generations": 1},
    "query.profile": {"kind": "natural", "names": 0, "vague": False},
    "query.budget": {"depth": 100, "hydrated": 300, "reason": "usual depth", "feedback": True},
    "embed.query": {"model": "minilm", "remote": False},
    "faiss.primary": {"device": "cpu", "device_reason": ""},
    "retrieve.dense": {"hits": 40},
    "retrieve.lexical": {"hits": 60},
    "retrieve.symbols": {"ends": (Status.SKIPPED, "no identifier asked")},
    "retrieve.sparse": {"ends": (Status.SKIPPED, "not_configured")},
    "retrieve.gather": {"channels": 3},
    "gate.secondary": {"feedback": False, "feedback_reason": "the best hit stands out", "hydrated": 60},
    "fuse.scores": {"candidates": 80, "fusion": "scores", "lexical_share": 0.3},
    "hydrate.catalog": {"asked": 80, "found": 80},
    "retrieve.cocitation": {"ends": (Status.SKIPPED, "not_promoted")},
    "rank.select": {"hits": 4, "files": 3, "from_dense": 3, "from_lexical": 2},
    "rerank": {"model": "r", "candidates": 4, "moved": 2},
    "cite.verify": {"verified": 2, "dropped": 0},
    "index.freshness": {"commits_behind": 0, "minutes_behind": 0.0, "secondary_ratio": 0.01},
    "synthesize": {"writer": "extractive", "citations": 2},
}


def candidate(path: str, *, cited: bool = False, **ranks: int) -> dict[str, Any]:
    """A candidate of a trace row."""
    return {
        "chunk_id": hash(path) % 1000, "repo": "shop", "path": path, "start_line": 1, "end_line": 2, "rank": 1,
        "score": 1.0, "fused": 1.0, "cited": cited,
        "channels": [{"channel": channel, "rank": rank, "score": 0.5} for channel, rank in ranks.items()],
    }  # fmt: skip


CANDIDATES = [
    candidate("a.py", dense=1, lexical=1, cited=True), candidate("b.py", dense=2), candidate("c.py", dense=3),
    candidate("a.py", lexical=4),
]  # fmt: skip


def record(home: Home, changes: Steps | None = None, *, operation: str = "answer", **row: Any) -> str:
    """Record a run whose steps are the healthy ones with changes (None leaves a step out); returns its id."""
    steps = {**HEALTHY, **(changes or {})} if operation != "build" else changes or {}
    with run(operation, home.ledger) as current:
        for kind, attributes in steps.items():
            if attributes is None:
                continue
            begun = step(kind)
            begun.set(**{key: value for key, value in attributes.items() if key != "ends"})
            begun.end(*attributes.get("ends", (Status.COMPLETED,)))
        if operation != "build":
            facts = {
                "query": "how?", "scope": '{"repos":["shop"]}', "mode": "hybrid", "retrieval_budget_ms": 400,
                "total_budget_ms": 2000, "candidates": CANDIDATES, "confidence": 0.8, "model": "extractive",
                "citations_verified": 2, "generations": [
                    {"repo": "shop", "gen_id": "g1", "commit": "c1", "dagster_run_id": "d1"}],
            } | row  # fmt: skip
            trace = AnswerTrace(
                run_id=current.run_id, session_id="", otel_trace_id=current.trace_id, operation=operation,
                surface="rest", asked_at=current.started_at, **facts,
            )  # fmt: skip
            journal = TraceJournal(home.trace_journal)
            assert journal.write(trace.close(current))
            journal.close()
    return current.run_id


def report(home: Home, changes: Steps | None = None, **options: Any) -> RunReport:
    """The report of a recorded run."""
    return run_report(home, record(home, changes, **options))


def kinds(found: RunReport) -> set[str]:
    """Kinds of its findings."""
    return {finding.kind for finding in found.findings}
