"""Every search and answer runs inside `recorded`: one run, one ledger file, and one AnswerTrace row however it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from pydantic import TypeAdapter

from codeintel_core.errors import CodeIntelError
from codeintel_core.generations.generation import Generation
from codeintel_core.home import Home
from codeintel_core.reports.run_report import report_of
from codeintel_core.retrieval.engine import Hit, SearchResult
from codeintel_core.telemetry import Run, Status, StepRecord, current_run, metrics, providers, run, step
from codeintel_core.traces.record import AnswerTrace, TraceJournal, stage_rows
from codeintel_serving.access.principal import LOCAL, Principal
from codeintel_serving.models import IndexEntry, StageModel

_STAGES = TypeAdapter(list[StageModel])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the face, the ids the face was given or minted, and the principal it has authenticated."""

    surface: str  # rest, mcp or cli
    run_id: str = ""
    session_id: str = ""
    principal: Principal = LOCAL


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked, as the trace row keeps it."""

    operation: str
    query: str
    scope: str
    mode: str
    retrieval_budget_ms: int
    total_budget_ms: int


def _run(operation: str, caller: Caller, home: Home) -> AbstractContextManager[Run]:
    return run(operation, home.ledger, run_id=caller.run_id, session_id=caller.session_id, caller=caller.principal.id)


@contextmanager
def ledgered(operation: str, caller: Caller, home: Home) -> Iterator[Run]:
    """A run with a ledger; its steps are told to the run around it too, whose problem names the stage that failed."""
    around = current_run()
    with _run(operation, caller, home) as current:
        try:
            yield current
        finally:
            if around is not None:
                around.steps.extend(current.steps)


@contextmanager
def recorded(asked: Asked, caller: Caller, home: Home, journal: TraceJournal) -> Iterator[tuple[Run, AnswerTrace]]:
    """Open the run; at the end write the trace row with status ok, empty (set by the caller), error or cancelled."""
    around = current_run()
    with _run(asked.operation, caller, home) as current:
        trace = AnswerTrace(
            run_id=current.run_id,
            session_id=current.session_id,
            otel_trace_id=current.trace_id,
            operation=asked.operation,
            surface=caller.surface,
            asked_at=current.started_at,
            query=asked.query,
            scope=asked.scope,
            mode=asked.mode,
            retrieval_budget_ms=asked.retrieval_budget_ms,
            total_budget_ms=asked.total_budget_ms,
        )
        try:
            yield current, trace
        except (asyncio.CancelledError, KeyboardInterrupt):
            trace.status = "cancelled"
            raise
        except Exception as error:
            trace.status = "error"
            trace.error = error.slug if isinstance(error, CodeIntelError) else CodeIntelError.slug
            raise
        finally:
            trace.close(current)
            if around is not None:
                around.steps.extend(current.steps)  # the problem that the face answers names the stage
            providers.judge_later(current.span, partial(_findings, current, trace))
            with step("trace.write") as writing:
                if not journal.write(trace):
                    writing.end(Status.FAILED, "the trace journal cannot be written")
            metrics.answers(trace.operation, trace.mode, trace.status).inc()
            if trace.confidence == trace.confidence:  # not NaN
                metrics.CONFIDENCE.observe(trace.confidence)


def _findings(ended: Run, trace: AnswerTrace) -> list[str]:
    """What detectors notice about a run that has ended."""
    kinds = [finding.kind for finding in report_of(ended, trace).findings]
    for kind in kinds:
        metrics.FINDINGS.labels(kind).inc()
    return kinds


def stages_of(steps: Sequence[StepRecord]) -> list[StageModel]:
    """The audit trail of an answer: what each step did."""
    return _STAGES.validate_python(stage_rows(steps))


def note_generations(trace: AnswerTrace, generations: Sequence[Generation]) -> None:
    """Say which generations were searched."""
    trace.generations = [
        {
            "repo": g.manifest.repo,
            "gen_id": g.manifest.gen_id,
            "commit": g.manifest.commit,
            "dagster_run_id": g.manifest.dagster_run_id,
        }
        for g in generations
    ]


def note_lags(trace: AnswerTrace, index: Sequence[IndexEntry]) -> None:
    """Say how far each index was behind."""
    trace.lags = [
        {"repo": entry.repo, "commits_behind": entry.commits_behind, "minutes_behind": entry.minutes_behind}
        for entry in index
    ]


def note_hits(trace: AnswerTrace, found: SearchResult, cited: Mapping[int, int] = MappingProxyType({})) -> None:
    """Keep the kind of query, the tuning that counted, and the hits with their rank in each channel that found them.

    `cited`: chunk id -> number.
    """
    trace.query_kind, trace.tuning_id = found.profile.kind.value, found.tuning_id
    trace.fusion = [
        {"channel": name, "weight": found.weights[name], "low": low, "high": high}
        for name, (low, high) in found.ranges.items()
    ]
    trace.candidates = [_candidate(hit, cited.get(hit.chunk.chunk_id, 0)) for hit in found.hits]


def _candidate(hit: Hit, citation: int) -> dict[str, object]:
    return {
        "chunk_id": hit.chunk.chunk_id,
        "repo": hit.chunk.repo,
        "path": hit.chunk.path,
        "blob": hit.chunk.blob,
        "symbol": hit.chunk.symbol,
        "start_line": hit.chunk.start_line,
        "end_line": hit.chunk.end_line,
        "rank": hit.rank,
        "score": hit.score,
        "fused": hit.fused,
        "channels": [
            {"channel": name, "rank": found.rank, "score": found.score} for name, found in hit.channels.items()
        ],
        "cited": citation > 0,
        "citation": citation,
    }
