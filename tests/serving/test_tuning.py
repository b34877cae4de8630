"""Learned weights in serving: used without a restart, named in traces and explanations, refused in plain sight."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from calling import call
from workshop import Workshop, settings_for

from codeintel_core import durable
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.cocitation import Pairs
from codeintel_core.retrieval.tuning import Tuning
from codeintel_core.settings import get_settings
from codeintel_core.traces import tables
from codeintel_serving.models import SearchRequest, SearchResponse
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.replay import replay
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e
_QUERY = SearchRequest(query="JournalWriter", explain=True)


@pytest.fixture
def services(workshop: Workshop) -> Iterator[Services]:
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as opened:
        opened.warm()
        yield opened


@pytest.fixture
def tuned(workshop: Workshop) -> Iterator[str]:
    """A document that counts until the test is over."""
    document = Tuning(
        parent="", created_at=datetime.now(UTC), factors={"identifier": {"lexical": 0.1}}, learned_from={}, numbers={},
        pairs=Pairs(weight=0.2, neighbours={"shop": {"store/journal.py": {"store/publish.py": 1.0}}}),
    )  # fmt: skip
    yield tuning.promote(workshop.home, document)
    tuning.roll_back(workshop.home, "")
    tuning.resume(workshop.home)


def _row(workshop: Workshop, found: SearchResponse) -> dict[str, Any]:
    rows = tables.read_day(tables.traces(workshop.home), f"{datetime.now(UTC):%Y-%m-%d}").to_pylist()
    return next(row for row in rows if row["run_id"] == found.run_id)


def test_a_promotion_changes_the_next_search_and_its_trace(services: Services, workshop: Workshop, tuned: str) -> None:
    tuning.roll_back(workshop.home, "")
    before = services.search(_QUERY, Caller("cli"))
    tuning.roll_back(workshop.home, tuned)
    after = services.search(_QUERY, Caller("cli"))
    (plain, changed) = (_row(workshop, found) for found in (before, after))
    assert (plain["tuning_id"], changed["tuning_id"]) == ("", tuned)
    weights = [{one["channel"]: one["weight"] for one in row["fusion"]} for row in (plain, changed)]
    assert weights[1]["lexical"] < weights[0]["lexical"]
    assert all(one["low"] <= one["high"] for one in changed["fusion"])
    assert before.coverage.idle["cocitation"] == "not_promoted"
    assert "cocitation" not in after.coverage.idle
    assert [one["weight"] for one in changed["fusion"] if one["channel"] == "cocitation"] == [0.2]
    (lifted,) = (hit for hit in after.results if "cocitation" in hit.channels)
    assert (lifted.path, lifted.channels["cocitation"].rank) == ("store/publish.py", 1)
    assert lifted.explanation is not None
    assert lifted.explanation.weights["cocitation"] == 0.2
    assert lifted.explanation.fused + sum(lifted.explanation.priors.values()) == pytest.approx(lifted.score, abs=1e-4)
    why = after.results[0].explanation
    assert why is not None
    assert why.tuning_id == tuned
    assert why.fused + sum(why.priors.values()) == pytest.approx(after.results[0].score, abs=1e-4)


def test_a_replay_uses_the_weights_of_the_record(services: Services, workshop: Workshop, tuned: str) -> None:
    found = services.search(_QUERY, Caller("cli"))
    tuning.roll_back(workshop.home, "")
    row = _row(workshop, found) | {"scope": "{}"}
    report = {"channels": {}, "coverage": {"rerank": {"state": "skipped"}}}
    done = replay(workshop.home, get_settings(), {"trace.json": row, "report.json": report})
    assert done.is_same, done.text


def test_a_damaged_document_is_degraded_and_not_used(services: Services, workshop: Workshop, tuned: str) -> None:
    path = workshop.home.tuning / f"{tuned}.json"
    whole = path.read_bytes()
    path.write_bytes(whole + b" ")
    try:
        durable.replace(tuning._pointer(workshop.home), f"{tuned}\n".encode())  # what a swap by another process leaves
        found = services.search(_QUERY, Caller("cli"))
        assert "does not match its digest" in found.coverage.degraded["tuning"]
        assert any(line.startswith("tuning refused") for line in found.warnings)
        assert _row(workshop, found)["tuning_id"] == ""
        assert readiness(services).checks["tuning"].status == "degraded"
    finally:
        path.write_bytes(whole)


def test_a_read_of_a_session_is_kept_for_analytics(services: Services, workshop: Workshop) -> None:
    targets = ["shop:store/journal.py:1-2"]
    read = call(services, "read", Caller("rest", session_id="s-reads"), targets=targets)
    call(services, "read", Caller("rest"), targets=targets)
    rows = tables.read_day(tables.feedback(workshop.home), f"{datetime.now(UTC):%Y-%m-%d}").to_pylist()
    found = [(row["session_id"], row["run_id"], row["repo"], row["path"]) for row in rows if row["kind"] == "read"]
    assert found == [("s-reads", read.run_id, "shop", "store/journal.py")]
