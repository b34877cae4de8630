"""Searches as the faces ask them: one trace row each, whether something was searched or the page was in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import orjson

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_core.stopping import is_given_up
from codeintel_core.telemetry import Run, StepRecord, metrics
from codeintel_core.traces.record import AnswerTrace, TraceJournal, stage_rows
from codeintel_serving import freshness
from codeintel_serving.freshness import Freshness
from codeintel_serving.models import IndexEntry, SearchRequest, SearchResponse
from codeintel_serving.recording import (
    Asked,
    Caller,
    note_generations,
    note_lags,
    recorded,
)
from codeintel_serving.resolving import Resolved, Resolver, opening_deadline
from codeintel_serving.results import CachedSearch, note_hit
from codeintel_serving.shared_pages import SharedPages
from codeintel_serving.shown import Pages, Shown

_FIELDS = tuple(SearchResponse.model_fields)
_HITS = metrics.CACHE_REQUESTS.labels("results", "hit")


@dataclass(frozen=True, slots=True)
class Answered:
    """A page, as the answer of one run."""

    shown: Shown
    index: Sequence[IndexEntry]
    run_id: str
    trace_id: str
    warnings: Sequence[str]
    steps: Sequence[StepRecord]

    def response(self) -> SearchResponse:
        """The answer as its model."""
        return SearchResponse.model_validate_json(self.json())

    def json(self) -> bytes:
        """The same as JSON, byte for byte as the model writes it."""
        parts = {
            **self.shown.json,
            "index": b"[" + b",".join(entry.model_dump_json().encode() for entry in self.index) + b"]",
            "run_id": orjson.dumps(self.run_id),
            "trace_id": orjson.dumps(self.trace_id),
            "warnings": orjson.dumps(self.warnings),
            "stages": orjson.dumps(stage_rows(self.steps)),
        }
        return b"{" + b",".join(b'"%s":%s' % (name.encode(), parts[name]) for name in _FIELDS) + b"}"


class Searching:
    """Searches of one home."""

    def __init__(
        self, settings: Settings, home: Home, resolver: Resolver, results: CachedSearch, fresh: Freshness,
        journal: TraceJournal,
    ) -> None:  # fmt: skip
        self._home, self._resolver, self._results, self._freshness = home, resolver, results, fresh
        self._journal, self._budget_ms = journal, settings.retrieval_budget_ms
        self._pages = Pages(settings.result_cache)

    def search(self, request: SearchRequest, caller: Caller) -> Answered:
        """Ranked spans; blocks for at most the retrieval budget, and half of it for its turn.

        Raises:
            CodeIntelError: with the reason, after the trace row was written.
            CancelledError: it was given up meanwhile: nobody waits any more.
        """
        until = Deadline.after(request.deadline_ms / 1000) if request.deadline_ms else None
        in_time = opening_deadline(self._budget_ms, until)
        with (
            recorded(self._asked(request), caller, self._home, self._journal) as (current, trace),
            self._resolver.pin(request, caller, in_time=in_time) as resolved,
        ):
            generations = resolved.generations
            note_generations(trace, generations)
            of_index = self._results.index(generations, resolved.scope)
            shown = None if resolved.left_out else self._pages.kept(of_index, request)
            if shown is not None:
                _note_recalled(shown, request)
            else:
                found = self._results.search(
                    request.query,
                    generations,
                    scope=resolved.scope,
                    limit=request.limit,
                    per_file=request.per_file,
                    mode=request.mode,
                    deadline=until,
                )
                if is_given_up():
                    raise asyncio.CancelledError("the caller left")
                shown = self._pages.of(found, of_index, request, resolved, trace)
            index = self._freshness.entries(generations)
            _note(trace, request, shown, index)
            return _answer(current, trace, shown, index)

    def recall(self, request: SearchRequest, caller: Caller) -> Answered | None:
        """What `search` would answer when all of it is in memory; None when `search` must be asked.

        It waits for nothing, so that the event loop may call it. Access is checked and generations are pinned as for
        any search, and it leaves its run, steps and trace row.
        """
        with ExitStack() as pins:
            try:
                resolved = pins.enter_context(self._resolver.pin_open(request, caller))
            except CodeIntelError:  # `search` says it, with a trace row
                return None
            index = self._freshness.known_entries(resolved.generations) if resolved is not None else None
            if resolved is None or index is None:
                return None
            shown = self._pages.kept(self._results.index(resolved.generations, resolved.scope), request)
            return self._recalled(request, caller, resolved, shown, index) if shown is not None else None

    def share(self, pages: SharedPages) -> None:
        """Find and keep pages there too, with the other workers of this server."""
        self._pages.shared = pages

    def forget(self) -> None:
        """Let go of all results and pages."""
        self._results.clear()
        self._pages.clear()

    def _recalled(
        self, request: SearchRequest, caller: Caller, resolved: Resolved, shown: Shown, index: Sequence[IndexEntry]
    ) -> Answered:
        with recorded(self._asked(request), caller, self._home, self._journal) as (current, trace):
            resolved.note(request.scope)
            _note_recalled(shown, request)
            self._freshness.note(resolved.generations, index)
            _note(trace, request, shown, index)
            return _answer(current, trace, shown, index)

    def _asked(self, request: SearchRequest) -> Asked:
        return Asked(
            "search", request.query, request.scope.model_dump_json(), request.mode.value, self._budget_ms,
            self._budget_ms,
        )  # fmt: skip


def _note_recalled(shown: Shown, request: SearchRequest) -> None:
    """Say that nothing was searched."""
    note_hit(shown.hits, "hit", request.per_file)
    _HITS.inc()


def _note(trace: AnswerTrace, request: SearchRequest, shown: Shown, index: Sequence[IndexEntry]) -> None:
    """Tell the trace row what was shown, and how far the index was behind."""
    trace.masked = shown.traced
    note_lags(trace, index)
    trace.limits = [*request.scope_warnings, *shown.problems, *freshness.delays(index), *shown.notes]
    trace.status = "ok" if shown.hits else "empty"


def _answer(run: Run, trace: AnswerTrace, shown: Shown, index: Sequence[IndexEntry]) -> Answered:
    """The page as the answer of this run, with the steps that it has made so far."""
    return Answered(shown, index, run.run_id, run.trace_id, trace.limits, tuple(run.steps))
