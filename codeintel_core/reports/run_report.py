"""The run report, put together from the ledger of a run and its trace row; a run that died half way has one too."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from codeintel_core.errors import UnknownRun
from codeintel_core.home import Home
from codeintel_core.reports import coverage, sections
from codeintel_core.reports.detectors import Thresholds, detect
from codeintel_core.reports.model import OPEN, Cell, RunReport, Scalar, StepEntry
from codeintel_core.reports.sections import Section
from codeintel_core.reports.trends import Trend, recent_trend
from codeintel_core.telemetry import Outcome, Run, Status, ledger
from codeintel_core.traces import lookup
from codeintel_core.traces.record import AnswerTrace

LAST = "last"
_ASKED = ("surface", "mode", "query_kind", "scope")
_OUTCOME = (
    "model", "prompt_version", "tokens_in", "tokens_out", "time_to_first_token_ms", "tokens_per_second", "finish",
    "citations_verified", "citations_dropped", "confidence", "error",
)  # fmt: skip
_GATING = {
    "query.profile": ("kind", "names", "vague"),
    "query.budget": ("depth", "hydrated", "reason", "feedback", "waited_ms"),
    "gate.secondary": ("feedback", "feedback_reason", "hydrated", "hydrated_reason"),
    "fuse.scores": ("fusion", "lexical_share", "reason", "tuning_id"),
    "build.plan": ("added", "changed", "removed", "unchanged", "up_to_date"),
}


def run_report(home: Home, run_id: str = LAST, thresholds: Thresholds | None = None) -> RunReport:
    """The report of a run, or of the one whose ledger was written last.

    Raises:
        UnknownRun: nothing is kept of it, or `run_id` is no UUID.
    """
    run_id = canonical(home, run_id)
    found, strays = sections.read(ledger.read(home.ledger, run_id))
    if not found:
        raise UnknownRun(f"no ledger is kept of run {run_id}; `codeintel telemetry tail` lists the newest runs")
    if found[-1].operation != "build":  # a reused id: the last request is what is meant
        found = [section for section in found if section.trace_id == found[-1].trace_id][-1:]
    days = {f"{found[-1].at + timedelta(days=extra):%Y-%m-%d}" for extra in (0, 1)}
    row = lookup.find(home, sorted(days), run_id, found[-1].trace_id)
    trend = recent_trend(home.ledger, except_run=run_id)
    return assemble(run_id, found, row, _failure(home, run_id), strays, trend, thresholds or Thresholds())


def report_of(run: Run, trace: AnswerTrace | None = None, thresholds: Thresholds | None = None) -> RunReport:
    """The report of a run of this process that is about to end: no file is read, and no trend compared."""
    row = trace.as_row() if trace is not None else {}
    return assemble(run.run_id, [Section.of_run(run)], row, {}, 0, Trend({}), thresholds or Thresholds())


def canonical(home: Home, run_id: str) -> str:
    """The id as it names files; `last` is the newest run. Raises `UnknownRun`."""
    if run_id == LAST:
        newest = ledger.newest(home.ledger, 1)
        if not newest:
            raise UnknownRun("no run is recorded yet")
        return newest[0].stem
    try:
        return str(uuid.UUID(run_id))
    except ValueError:
        raise UnknownRun("a run id is a UUID, as X-Run-Id answers it, or `last`") from None


def assemble(
    run_id: str,
    found: Sequence[Section],
    row: Mapping[str, Any],
    failure: Mapping[str, Any],
    strays: int,
    trend: Trend,
    thresholds: Thresholds,
) -> RunReport:
    """A report from what is known; `row` and `failure` may be empty."""
    steps = sections.entries(found)
    first, last = found[0], found[-1]
    has_died = not last.status or any(step.status == OPEN for step in steps)
    operation = last.operation
    end_ms = None if has_died else _length_ms(first, last)
    cells = coverage.grid(operation, steps)
    report = RunReport(
        run_id=run_id,
        operation=operation,
        status="died" if has_died else _status(last, row, cells, steps),
        stopped_because=coverage.stopped_because(steps),
        started_at=first.at.astimezone(UTC).isoformat(),
        duration_ms=end_ms,
        trace_id=last.trace_id,
        session_id=last.session_id,
        asked={key: row[key] for key in _ASKED if key in row},
        generations=_generations(row, steps),
        coverage=cells,
        channels=coverage.channels(steps, row.get("candidates", [])),
        budgets=_budgets(row, steps, end_ms),
        gating=_gating(steps),
        outcome=_outcome(row, steps),
        warnings=[*row.get("limits", []), *([f"{strays} lines of the ledger could not be read"] if strays else [])],
        findings=[],
        steps=steps,
        failure=dict(failure),
    )
    return report.model_copy(update={"findings": detect(report, trend, thresholds)})


def _length_ms(first: Section, last: Section) -> float:
    return round((last.at - first.at).total_seconds() * 1000 + (last.duration_ms or last.last_ms), 3)


def _status(last: Section, row: Mapping[str, Any], cells: Mapping[str, Cell], steps: Sequence[StepEntry]) -> str:
    if last.status != Outcome.OK:
        return last.status
    if row.get("status", "ok") != "ok":
        return str(row["status"])
    is_degraded = any(cell.state in ("degraded", "failed") for cell in cells.values())
    return "degraded" if is_degraded or any(step.status == Status.FAILED for step in steps) else "ok"


def _generations(row: Mapping[str, Any], steps: Sequence[StepEntry]) -> list[dict[str, str]]:
    if row.get("generations"):
        return [dict(generation) for generation in row["generations"]]
    made = [step for step in steps if step.kind in ("build.publish", "generation.open") and "gen_id" in step.attributes]
    return [{"repo": str(s.attributes.get("repo", "")), "gen_id": str(s.attributes["gen_id"])} for s in made]


def _budgets(row: Mapping[str, Any], steps: Sequence[StepEntry], end_ms: float | None) -> dict[str, Scalar]:
    if not row:
        return {}
    gathers = [step.duration_ms for step in steps if step.kind == "retrieve.gather"]
    return {
        "retrieval_budget_ms": row["retrieval_budget_ms"],
        "retrieval_used_ms": gathers[-1] if gathers else None,
        "total_budget_ms": row["total_budget_ms"],
        "total_used_ms": end_ms,
    }


def _gating(steps: Sequence[StepEntry]) -> dict[str, Scalar]:
    return {
        f"{step.kind}.{key}": step.attributes[key]
        for step in steps
        for key in _GATING.get(step.kind, ())
        if key in step.attributes
    }


def _outcome(row: Mapping[str, Any], steps: Sequence[StepEntry]) -> dict[str, Scalar]:
    if not row:
        hits = next((s.attributes.get("hits") for s in reversed(steps) if s.kind == "rank.select"), None)
        return {} if hits is None else {"hits": hits}
    found: dict[str, Scalar] = {"hits": len(row["candidates"]), "files": len({c["path"] for c in row["candidates"]})}
    found["cited"] = sum(bool(c["cited"]) for c in row["candidates"])
    for key in _OUTCOME:
        value = row.get(key)
        if value not in (None, "", 0):
            found[key] = value
    found["status"] = row["status"]
    return found


def _failure(home: Home, run_id: str) -> dict[str, Any]:
    try:
        found = json.loads((home.failures / f"{run_id}.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def day_of(report: RunReport) -> str:
    """Day (UTC) the run began, YYYY-MM-DD."""
    return f"{datetime.fromisoformat(report.started_at):%Y-%m-%d}"
