"""Feedback: what a caller says about an answer, or which of its citations was opened; one row each, for analysts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from codeintel_core.errors import InvalidRequest, StorageFailed, UnknownRun
from codeintel_core.home import Home
from codeintel_core.reports.run_report import run_report
from codeintel_core.secrets import without_secrets
from codeintel_core.telemetry import ledger, metrics
from codeintel_core.traces import lookup
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import Feedback
from codeintel_serving.models import MAX_CITATIONS
from codeintel_serving.recording import Caller

MAX_NOTE_CHARS = 2_000


class Kind(StrEnum):
    """What feedback says."""

    USEFUL = "useful"
    WRONG = "wrong"
    OPENED = "opened"


class FeedbackRequest(BaseModel):
    """A judgement of an answer or of one of its citations."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [{"run_id": "0b0e7c5e-5a0f-4b0e-9a53-0d5f3c1f2a11", "kind": "wrong", "citation": 2}]
        },
    )

    run_id: UUID = Field(description="Id of the run that answered, as X-Run-Id and every response say.")
    kind: Kind = Field(description="useful, wrong, or opened: somebody went to the place that a citation names.")
    citation: Annotated[int, Field(strict=True, ge=0, le=MAX_CITATIONS)] = Field(
        0, description="Number of the citation it is about; 0 is the whole answer."
    )
    note: str = Field("", max_length=MAX_NOTE_CHARS, description="In words; what looks like a secret is taken out.")

    @model_validator(mode="after")
    def _names_what_was_opened(self) -> Self:
        if self.kind is Kind.OPENED and not self.citation:
            raise ValueError("`opened` is about one citation: give its number, from 1")
        return self


class FeedbackResponse(BaseModel):
    """Feedback that was stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    feedback_id: str = Field(description="Id of the row; `feedback` in analytics has it after the next refresh.")
    run_id: str = Field(description="The run it is about.")
    checked: bool = Field(
        True,
        description="False: this server does not know the run, or not for this caller. It counts once the trace has "
        "arrived from the machine that answered, if the caller may see what that searched.",
    )


def give(
    home: Home,
    journal: Journal,
    request: FeedbackRequest,
    caller: Caller,
    may_see: Callable[[frozenset[str]], bool] = lambda _: True,
    is_joined: Callable[[], bool] = lambda: False,
) -> FeedbackResponse:
    """Store the feedback; `may_see` is asked about the repositories that the run touched.

    With `is_joined` the rows of all machines come together. Then what is said of a run that is unknown here, or not for
    this caller, is stored with what the caller sees, and counts where the run is one of that (view `feedback`).

    Raises:
        UnknownRun: nothing is kept of the run, or the caller may not see it: the same words for both.
        InvalidRequest: the answer has no citation of that number.
        StorageFailed: the row could not be written.
    """
    run_id = str(request.run_id)
    row, sees = dict[str, Any](), tuple[str, ...]()
    try:
        row = _seen(home, run_id, may_see)
    except UnknownRun:
        sees = caller.principal.repos
        if not sees or not is_joined():
            raise
    cited = _cited(row, request.citation)
    given = Feedback(
        run_id=run_id,
        kind=request.kind.value,
        session_id=caller.session_id,
        surface=caller.surface,
        citation=request.citation,
        repo=cited.get("repo", ""),
        path=cited.get("path", ""),
        note=without_secrets(request.note),
        sees=sees,
    )
    if not given.write(journal):
        raise StorageFailed("the feedback could not be written; look at the disk of CODEINTEL_HOME")
    metrics.FEEDBACK.labels(given.kind).inc()
    return FeedbackResponse(feedback_id=given.feedback_id, run_id=given.run_id, checked=not sees)


def _seen(home: Home, run_id: str, may_see: Callable[[frozenset[str]], bool]) -> dict[str, Any]:
    """Its trace row ({} when only a ledger is kept); raises `UnknownRun`."""
    row, repos = _of_run(home, run_id)
    if not may_see(repos):
        raise _unknown(run_id)
    return row


def _of_run(home: Home, run_id: str) -> tuple[dict[str, Any], frozenset[str]]:
    """Its trace row ({} when only a ledger is kept) and the repositories it touched."""
    days = [path.parent.name.removeprefix("date=") for path in ledger.find(home.ledger, run_id)]
    row = lookup.find(home, days or lookup.days_of(home, run_id), run_id)
    if row:
        return row, frozenset(generation["repo"] for generation in row["generations"])
    if not days:
        raise _unknown(run_id)
    return {}, run_report(home, run_id).repos


def _cited(row: Mapping[str, Any], citation: int) -> Mapping[str, Any]:
    """The place that a citation names; {} for the whole answer, and when the row is not kept."""
    numbered: dict[int, dict[str, Any]] = {
        candidate["citation"]: candidate for candidate in row.get("candidates", ()) if candidate["citation"]
    }
    if row and citation and citation not in numbered:
        there = f"its citations are 1 to {max(numbered)}" if numbered else "it cites nothing"
        raise InvalidRequest(f"the answer of run {row['run_id']} has no citation {citation}: {there}")
    return numbered.get(citation, {})


def _unknown(run_id: str) -> UnknownRun:
    return UnknownRun(f"neither a ledger nor a trace is kept of run {run_id}")
