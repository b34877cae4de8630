"""The HTTP face end to end: a real index behind a real server answers, cites, reads, traces and reports itself."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from workshop import Workshop

from codeintel_core.telemetry import ledger
from codeintel_core.traces import tables

pytestmark = pytest.mark.e2e

QUESTION = "how is a generation published atomically?"


def sse_events(client: httpx.Client, body: dict[str, Any]) -> list[tuple[str, Any]]:
    response = client.post("/answer", json=body, headers={"Accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    events = []
    for block in response.text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields["event"], json.loads(fields["data"])))
    return events


def rows(workshop: Workshop) -> list[dict[str, Any]]:
    return tables.read_day(tables.traces(workshop.home), f"{datetime.now(UTC):%Y-%m-%d}").to_pylist()


def test_search_ranks_the_definition_first_and_says_why(http: httpx.Client) -> None:
    found = http.post("/search", json={"query": QUESTION, "scope": {"repos": ["shop"]}}).json()
    best = found["results"][0]
    assert (best["path"], best["symbol"], best["rank"]) == ("store/publish.py", "publish_generation", 1)
    assert best["channels"].keys() == {"dense", "lexical"}
    assert best["id"] == f"shop:store/publish.py:{best['start_line']}-{best['end_line']}"
    assert found["coverage"] == {
        "searched": ["shop"], "skipped": {"binary": 1}, "redacted": {}, "degraded": {},
        "idle": {
            "cocitation": "not_promoted", "exact": "nothing quoted", "sparse": "not_configured",
            "symbols": "no identifier asked",
        },
        "left_out": {},
    }  # fmt: skip
    assert found["index"][0]["status"] == "fresh"


def test_scope_filters_and_nothing_found_is_an_empty_list(http: httpx.Client) -> None:
    body = {"query": QUESTION, "scope": {"languages": ["javascript"], "paths": ["web/**"]}}
    assert {hit["path"] for hit in http.post("/search", json=body).json()["results"]} == {"web/cart.js"}
    body["scope"] = {"paths": ["nowhere/**"]}
    assert http.post("/search", json=body).json()["results"] == []


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("lexical", {"lexical"}), ("semantic", {"dense"}), ("exact", {"exact"}), ("regex", {"regex"})],
)
def test_modes_use_their_channel_only(http: httpx.Client, mode: str, channels: set[str]) -> None:
    found = http.post("/search", json={"query": "publish_generation", "mode": mode}).json()
    assert found["results"]
    assert {name for hit in found["results"] for name in hit["channels"]} == channels


def test_patterns_name_the_lines_they_match(http: httpx.Client) -> None:
    found = http.post("/search", json={"query": r"^\s+os\.(fsync|rename)\(", "mode": "regex"}).json()
    (best,) = found["results"]
    assert (best["symbol"], best["channels"]["regex"]["rank"]) == ("publish_generation", 1)
    text = best["snippet"].splitlines()
    said = [text[match["start_line"] - best["start_line"]].strip() for match in best["matches"]]
    assert said == ["os.fsync(staging)", "os.rename(staging, target)"]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"query": "(a+)+[", "mode": "regex"}, 400, "invalid-pattern", "at position 5"),
        ({"query": "a" * 9_000, "mode": "regex"}, 400, "invalid-pattern", "1..1000 characters"),
        ({"query": "a*", "mode": "regex"}, 400, "invalid-pattern", "the empty text"),
        ({"query": "x", "mode": "sparse"}, 409, "channel-unavailable", "not_configured"),
        ({"query": "x", "explain": "yes"}, 422, "invalid-request", "explain"),
    ],
)
def test_what_cannot_be_searched_is_a_problem(
    http: httpx.Client, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    answer = http.post("/search", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert said in answer.json()["detail"]


def test_an_explanation_adds_up_to_the_score(http: httpx.Client) -> None:
    assert http.post("/search", json={"query": QUESTION}).json()["results"][0]["explanation"] is None
    for hit in http.post("/search", json={"query": QUESTION, "explain": True}).json()["results"]:
        why = hit["explanation"]
        assert why["fused"] + sum(why["priors"].values()) == pytest.approx(hit["score"], abs=1e-4)
        assert why["weights"].keys() == hit["channels"].keys()


def test_answer_cites_verified_text_with_its_provenance(http: httpx.Client, workshop: Workshop) -> None:
    found = http.post("/answer", json={"question": QUESTION}).json()
    cited = found["citations"][0]
    assert "[1]" in found["answer"]
    assert "publish_generation" in found["answer"]
    assert cited["verified"] is True
    assert cited["dagster_run_id"] == "11111111-2222-3333-4444-555555555555"
    place = f"{cited['repo']}:{cited['path']}:{cited['start_line']}-{cited['end_line']}"
    (text,) = http.post("/read", json={"targets": [place]}).json()["files"]
    assert text["text"] == cited["snippet"]
    assert (text["commit"], text["blob"]) == (cited["commit"], cited["blob"])
    assert found["confidence"]["value"] > 0.5
    stages = [(s["name"], s["status"]) for s in found["stages"]]
    assert (
        "index.freshness",
        "completed",
    ) in stages  # beside the writing when a lag is counted
    assert [stage for stage in stages if stage[0] != "index.freshness"][-3:] == [
        ("cite.verify", "completed"),
        ("synthesize", "skipped"),
        ("synthesize", "completed"),
    ]
    assert found["limits"] == ["the answer is extractive: no chat model is configured"]


def test_answer_not_found_says_where_it_looked(http: httpx.Client) -> None:
    found = http.post("/answer", json={"question": "chocolate cake recipe with llamas"}).json()
    assert found["citations"] == []
    assert found["confidence"]["value"] == 0
    assert found["answer"].startswith("Not found")
    assert "shop, generation" in found["answer"]
    assert "UTC\n  not indexed: 1 binary\n- channels: dense, lexical\n" in found["answer"]
    assert "Nearest misses" in found["answer"]


def test_sse_sends_events_in_order_and_the_trace_last(http: httpx.Client) -> None:
    events = sse_events(http, {"question": QUESTION})
    names = [name for name, _ in events]
    assert names[-1] == "trace"
    assert names.count("trace") == 1
    assert names.index("stage") < names.index("citation") < names.index("token") < names.index("limits")
    row = events[-1][1]
    assert "".join(data["text"] for name, data in events if name == "token") == row["answer"]
    assert row["citations_verified"] == names.count("citation")


def test_sse_and_json_agree(http: httpx.Client) -> None:
    events = sse_events(http, {"question": QUESTION})
    assert events[-1][1]["answer"] == http.post("/answer", json={"question": QUESTION}).json()["answer"]


def test_a_failed_answer_ends_with_error_then_trace(http: httpx.Client) -> None:
    events = sse_events(http, {"question": QUESTION, "scope": {"repos": ["nope"]}})
    assert [name for name, _ in events][-2:] == ["error", "trace"]
    assert events[-2][1]["code"] == events[-1][1]["error"] == "unknown-repository"


def test_every_search_and_answer_leaves_a_trace_row(http: httpx.Client, workshop: Workshop) -> None:
    ids = [str(uuid.uuid4()) for _ in range(4)]
    http.post("/search", json={"query": QUESTION}, headers={"X-Run-ID": ids[0], "X-Session-ID": "s-1"})
    http.post("/answer", json={"question": QUESTION}, headers={"X-Run-ID": ids[1]})
    http.post("/search", json={"query": "x", "scope": {"repos": ["nope"]}}, headers={"X-Run-ID": ids[2]})
    http.post("/answer", json={"question": "cake llamas"}, headers={"X-Run-ID": ids[3]})
    found = {row["run_id"]: row for row in rows(workshop) if row["run_id"] in ids}
    assert [found[i]["status"] for i in ids] == ["ok", "ok", "error", "empty"]
    assert [found[i]["surface"] for i in ids] == ["rest"] * 4
    assert found[ids[0]]["session_id"] == "s-1"
    assert found[ids[2]]["error"] == "unknown-repository"
    assert found[ids[1]]["candidates"][0]["cited"] is True
    assert not any(c["cited"] for c in found[ids[0]]["candidates"])
    (path,) = ledger.find(workshop.home.ledger, ids[1])
    assert path.read_bytes().count(b"\n") > 2


def test_ids_are_kept_or_replaced_and_on_every_answer(http: httpx.Client) -> None:
    mine = str(uuid.uuid4())
    kept = http.post("/search", json={"query": "x"}, headers={"X-Run-ID": mine})
    assert kept.headers["x-run-id"] == kept.json()["run_id"] == mine
    assert kept.headers["x-trace-id"] == kept.json()["trace_id"]
    replaced = http.get("/livez", headers={"X-Run-ID": "not-a-uuid"}).headers["x-run-id"]
    assert str(uuid.UUID(replaced)) == replaced
    assert http.get("/nowhere").headers["x-trace-id"]


def test_health_metrics_and_openapi(http: httpx.Client) -> None:
    assert http.get("/livez").json() == {"status": "ok"}
    ready = http.get("/readyz")
    assert (ready.status_code, ready.json()["state"]) == (200, "ready")
    assert {"generations", "contract", "jvm", "disk"} <= ready.json()["checks"].keys()
    assert all(check["since"] for check in ready.json()["checks"].values())
    exposed = http.get("/metrics").text
    assert 'codeintel_ready_state{state="ready"} 1.0' in exposed
    assert 'codeintel_generation_created_timestamp_seconds{repo="shop"}' in exposed
    schema = http.get("/openapi.json").json()
    assert {"/search", "/answer", "/read", "/status", "/livez", "/readyz", "/metrics"} <= schema["paths"].keys()
    assert schema["components"]["schemas"]["SearchRequest"]["examples"]


def test_status_shows_coverage(http: httpx.Client) -> None:
    (state,) = http.get("/status").json()["repositories"]
    assert (state["repo"], state["files"], state["coverage"]["binary"], state["problem"]) == ("shop", 5, 1, "")


def test_reading_stays_at_the_pinned_commit(http: httpx.Client, source: Path) -> None:
    (source / "store" / "publish.py").write_text("changed in the work tree only\n")
    try:
        (text,) = http.post("/read", json={"targets": ["shop:store/publish.py:1"]}).json()["files"]
    finally:
        (source / "store" / "publish.py").unlink()
    assert text["text"] == '"""Publishing an index generation."""'
    assert (text["start_line"], text["end_line"]) == (1, 1)
