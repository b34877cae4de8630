"""Feedback through REST and the command line: about real runs only, about citations that exist, without secrets."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from workshop import Workshop

from codeintel_core.errors import InvalidRequest, StorageFailed, UnknownRun
from codeintel_core.settings import get_settings
from codeintel_core.telemetry import ledger, metrics
from codeintel_core.traces import journal, tables
from codeintel_core.traces.journal import Journal
from codeintel_serving import feedback
from codeintel_serving.access.principal import Permission, Principal
from codeintel_serving.cli import app
from codeintel_serving.feedback import FeedbackRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e


@pytest.fixture
def answered(http: httpx.Client) -> dict[str, Any]:
    """An answer with citations."""
    found: dict[str, Any] = http.post("/answer", json={"question": "how is a journal recovered after a crash?"}).json()
    assert found["citations"]
    return found


def _rows(workshop: Workshop, run_id: str) -> list[dict[str, Any]]:
    table = tables.read_day(tables.feedback(workshop.home), f"{datetime.now(UTC):%Y-%m-%d}")
    return [row for row in table.to_pylist() if row["run_id"] == run_id]


def test_what_is_said_is_stored_with_the_place_it_is_about(
    http: httpx.Client, workshop: Workshop, answered: dict[str, Any]
) -> None:
    run_id, cited = answered["run_id"], answered["citations"][0]
    before = metrics.REGISTRY.get_sample_value("codeintel_feedback_total", {"kind": "wrong"}) or 0
    lines = ledger.find(workshop.home.ledger, run_id)[0].read_bytes()
    said = {"run_id": run_id.upper(), "kind": "wrong", "citation": 1, "note": "outdated\n token=abcdef123456"}
    given = http.post("/feedback", json=said, headers={"X-Session-ID": "s1", "X-Run-ID": run_id})
    assert given.status_code == 200, given.text
    http.post("/feedback", json={"run_id": run_id, "kind": "useful"}).raise_for_status()
    wrong, useful = _rows(workshop, run_id)
    assert given.json() == {"feedback_id": wrong["feedback_id"], "run_id": run_id, "checked": True}
    assert (wrong["sees"], useful["sees"]) == ([], [])
    assert (wrong["kind"], wrong["citation"], wrong["repo"], wrong["path"]) == ("wrong", 1, "shop", cited["path"])
    assert (wrong["surface"], wrong["session_id"], wrong["note"]) == ("rest", "s1", "outdated\n token=***")
    assert (useful["kind"], useful["citation"], useful["path"], useful["note"]) == ("useful", 0, "", "")
    assert metrics.REGISTRY.get_sample_value("codeintel_feedback_total", {"kind": "wrong"}) == before + 1
    assert ledger.find(workshop.home.ledger, run_id)[0].read_bytes() == lines, "a reused run id changes no ledger"


@pytest.mark.parametrize(
    ("said", "status", "words"),
    [
        ({"run_id": str(uuid.UUID(int=1, version=4))}, 404, "neither a ledger nor a trace"),
        ({"run_id": "last"}, 422, "run_id"),
        ({"run_id": "../../etc"}, 422, "run_id"),
        ({"kind": "liked"}, 422, "kind"),
        ({"kind": "opened"}, 422, "give its number"),
        ({"citation": 20}, 422, "has no citation 20: its citations are 1 to"),
        ({"citation": 21}, 422, "citation"),
        ({"citation": -1}, 422, "citation"),
        ({"citation": "1"}, 422, "citation"),
        ({"note": "x" * 2_001}, 422, "note"),
        ({"more": 1}, 422, "more"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_meant_is_refused(
    http: httpx.Client, answered: dict[str, Any], said: dict[str, Any], status: int, words: str
) -> None:
    refused = http.post("/feedback", json={"run_id": answered["run_id"], "kind": "useful", **said})
    assert refused.status_code == status
    assert words in refused.json()["detail"]


@pytest.fixture
def writer(services: Services) -> Iterator[Journal]:
    """A journal of the home."""
    found = Journal(services.home.feedback_journal)
    yield found
    found.close()


def test_a_ledger_or_a_trace_of_the_run_is_enough(
    services: Services, workshop: Workshop, answered: dict[str, Any], writer: Journal
) -> None:
    home, run_id = workshop.home, answered["run_id"]
    opened = FeedbackRequest(run_id=run_id, kind=feedback.Kind.OPENED, citation=1)
    (path,) = ledger.find(home.ledger, run_id)
    lines = path.read_bytes()
    path.unlink()
    assert feedback.give(home, writer, opened, Caller("cli")).run_id == run_id
    day = path.parent.name.removeprefix("date=")
    kept = {each: each.read_bytes() for each in journal.files(home.trace_journal, day)}
    table = tables.traces(home)
    try:
        tables.compact(table, day)
        for each in kept:
            each.unlink()
        assert feedback.give(home, writer, opened, Caller("cli")).run_id == run_id
        table.path(day).unlink()
        with pytest.raises(UnknownRun):
            feedback.give(home, writer, opened, Caller("cli"))
        path.write_bytes(lines)
        feedback.give(home, writer, opened, Caller("cli"))
    finally:
        table.path(day).unlink(missing_ok=True)
        for each, rows in kept.items():
            each.write_bytes(rows)
    services.journal.close()  # its file was replaced
    stored = _rows(workshop, run_id)
    assert [bool(row["path"]) for row in stored] == [True, True, False], "without its row the place is not known"


def test_who_may_not_see_the_run_hears_what_everybody_hears(
    workshop: Workshop, answered: dict[str, Any], writer: Journal
) -> None:
    asked: list[frozenset[str]] = []

    def may_see(repos: frozenset[str]) -> bool:
        asked.append(repos)
        return False

    def heard(run_id: str, **options: Any) -> str:
        request = FeedbackRequest(run_id=uuid.UUID(run_id), kind=feedback.Kind.USEFUL)
        with pytest.raises(UnknownRun) as refused:
            feedback.give(workshop.home, writer, request, Caller("mcp"), **options)
        return str(refused.value).replace(run_id, "RUN")

    assert heard(answered["run_id"], may_see=may_see) == heard(str(uuid.uuid4()))
    assert asked == [frozenset({"shop"})]


@dataclass
class _Collected:
    """What a service has where the rows of all machines are collected."""

    is_there: bool = True

    def reaches_tables(self) -> bool:
        return self.is_there


def test_an_unknown_run_is_taken_with_what_the_caller_sees_where_rows_come_together(
    services: Services, workshop: Workshop, answered: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody learns from it whether the run is here: it is the same for one that the caller may not see."""
    caller = Caller("rest", principal=Principal("k", frozenset({Permission.READ}), ("cellar*", "attic")))
    blind = Caller("rest", principal=Principal("b", frozenset({Permission.READ}), ()))
    elsewhere, hidden = str(uuid.uuid4()), answered["run_id"]
    for run_id in (elsewhere, hidden):
        request = FeedbackRequest(run_id=uuid.UUID(run_id), kind=feedback.Kind.WRONG, citation=19)
        with pytest.raises(UnknownRun):
            services.feedback(request, caller)
        with monkeypatch.context() as patch:
            patch.setattr(services, "handover", _Collected(is_there=False))
            with pytest.raises(UnknownRun):
                services.feedback(request, caller)
            patch.setattr(services, "handover", _Collected())
            with pytest.raises(UnknownRun):
                services.feedback(request, blind)
            given = services.feedback(request, caller)
        assert (given.run_id, given.checked) == (run_id, False)
        (row,) = _rows(workshop, run_id)
        assert (row["sees"], row["citation"], row["repo"], row["path"]) == (["cellar*", "attic"], 19, "", "")


def test_feedback_that_cannot_be_written_is_an_error(workshop: Workshop, answered: dict[str, Any]) -> None:
    (workshop.home.root / "a-file").touch()
    request = FeedbackRequest(run_id=answered["run_id"], kind=feedback.Kind.USEFUL)
    with pytest.raises(StorageFailed, match="disk"):
        feedback.give(workshop.home, Journal(workshop.home.root / "a-file"), request, Caller("rest"))


def test_the_command(workshop: Workshop, answered: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_HOME", str(workshop.home.root))
    get_settings.cache_clear()
    run_id = answered["run_id"]
    done = CliRunner().invoke(app, ["feedback", run_id, "--opened", "--citation", "1"], catch_exceptions=False)
    said = ["feedback", "last", "--useful", "--note", "thanks", "--json"]
    again = CliRunner().invoke(app, said, catch_exceptions=False)
    opened, useful = _rows(workshop, run_id)
    assert (done.stdout.strip(), json.loads(again.stdout)["feedback_id"]) == (
        opened["feedback_id"], useful["feedback_id"],
    )  # fmt: skip
    assert (opened["surface"], opened["kind"], useful["note"]) == ("cli", "opened", "thanks")
    for flags in ([], ["--useful", "--wrong"]):
        refused = CliRunner().invoke(app, ["feedback", run_id, *flags])
        assert isinstance(refused.exception, InvalidRequest)
        assert "--opened" in str(refused.exception)
    get_settings.cache_clear()
