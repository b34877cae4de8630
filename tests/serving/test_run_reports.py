"""Run reports and runpacks through REST and the command line, of real searches and answers; and replay."""

from __future__ import annotations

import json
import uuid
import zipfile
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from running import running, until
from typer.testing import CliRunner
from workshop import Workshop, settings_for

from codeintel_core import catalog
from codeintel_core.errors import ModelUnavailable
from codeintel_core.reports import runpack
from codeintel_core.reports.run_report import run_report
from codeintel_core.settings import get_settings
from codeintel_serving import replay as replays
from codeintel_serving import run_reports
from codeintel_serving.cli import app
from codeintel_serving.services import Services

QUESTION = "how is a generation published atomically?"
pytestmark = pytest.mark.e2e


def _asked(http: httpx.Client, path: str = "/answer", **more: object) -> dict[str, object]:
    key = "question" if path == "/answer" else "query"
    answered = http.post(path, json={key: f"{QUESTION} {uuid.uuid4()}", **more})
    answered.raise_for_status()
    found: dict[str, object] = answered.json()
    return found


def test_every_answer_has_an_audit_trail_and_a_report(http: httpx.Client) -> None:
    for path in ("/search", "/answer"):
        answered = _asked(http, path)
        report = http.get(f"/runs/{answered['run_id']}/report").json()
        stages = {stage["name"] for stage in answered["stages"]}
        assert {"retrieve.dense", "retrieve.lexical", "hydrate.catalog"} <= stages
        assert stages <= {step["kind"] for step in report["steps"]}
        assert report["trace_id"] == answered["trace_id"]
        assert report["status"] in ("ok", "empty")
        assert report["coverage"]["dense"]["state"] == "ran"
        assert report["channels"]["dense"]["candidates"] > 0
        assert report["generations"][0]["gen_id"] == answered["index"][0]["generation"]
        assert report["outcome"]["hits"] == len(answered.get("results") or report["outcome"]["hits"] * [0])


def test_its_forms(http: httpx.Client) -> None:
    run_id = _asked(http)["run_id"]
    page = http.get(f"/runs/{run_id}/report", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert run_id in page.text
    text = http.get(f"/runs/{run_id}/report", params={"format": "markdown"})
    assert text.headers["content-type"].startswith("text/markdown")
    assert "## Coverage" in text.text
    assert http.get(f"/runs/{run_id}/report", params={"format": "pdf"}).status_code == 422


@pytest.mark.parametrize("run_id", ["x", str(uuid.UUID(int=1, version=4)), "%2e%2e%2fetc", "*"])
def test_unknown_runs(http: httpx.Client, run_id: str) -> None:
    for found in (
        http.get(f"/runs/{run_id}/report"),
        http.get(f"/runpacks/{run_id}"),
        http.post(f"/runs/{run_id}/runpack"),
    ):
        assert found.status_code == 404
        assert found.json()["code"] in ("unknown-run", "not-found")


def test_a_read_has_a_report_too(http: httpx.Client) -> None:
    read = http.post("/read", json={"targets": ["shop:store/publish.py"]}).json()
    report = http.get(f"/runs/{read['run_id']}/report").json()
    assert [step["kind"] for step in report["steps"]] == ["tool", "scope.resolve", "files.read", "index.freshness"]


def test_who_may_not_see_a_repository_sees_no_report(services: Services, http: httpx.Client) -> None:
    run_id = str(_asked(http)["run_id"])
    with pytest.raises(Exception, match="no ledger is kept"):
        run_reports.report(services.home, services.settings, run_id, lambda repos: "shop" not in repos)


def test_a_runpack_on_demand(http: httpx.Client) -> None:
    run_id = _asked(http)["run_id"]
    made = http.post(f"/runs/{run_id}/runpack").json()
    assert made["runpack"] == run_id
    data = http.get(f"/runpacks/{run_id}").content
    assert len(data) == made["size_bytes"]
    with zipfile.ZipFile(BytesIO(data)) as pack:
        context = json.loads(pack.read("context.json"))
    assert context["readiness"]["state"] in ("ready", "degraded")
    assert context["manifests"][0]["repo"] == "shop"


def _no_encoder() -> None:
    raise ModelUnavailable("the tokenizer does not load")


def test_an_error_of_ours_names_its_runpack_and_the_pack_names_the_cause(workshop: Workshop) -> None:
    with Services(settings_for(workshop.home), encoder=_no_encoder) as services, running(services) as url:
        with httpx.Client(base_url=url, timeout=60) as http:
            failed = http.post("/search", json={"query": "x", "mode": "semantic"})
            assert failed.status_code == 503
            run_id = failed.json()["runpack"]
            assert run_id == failed.json()["run_id"]
            until((workshop.home.runpacks / f"{run_id}.zip").exists)
            refused = http.post("/search", json={"query": "x", "scope": {"repos": ["nope"]}}).json()
        assert refused["runpack"] == ""
        parts = runpack.open_pack(workshop.home, run_id)
    assert parts["meta.json"]["trigger"] == "error"
    assert "the tokenizer does not load" in parts["meta.json"]["stopped_because"]


def test_a_replay_finds_the_same_hits(http: httpx.Client, services: Services) -> None:
    for path, more in (("/search", {}), ("/search", {"per_file": 1}), ("/answer", {})):
        run_id = str(_asked(http, path, **more)["run_id"])
        assert services.runpacks.now(run_id) is not None
        found = replays.replay(services.home, services.settings, runpack.open_pack(services.home, run_id))
        assert found.recorded
        assert found.is_same, found.text


def test_a_replay_that_differs_says_so(http: httpx.Client, services: Services) -> None:
    run_id = str(_asked(http, "/search")["run_id"])
    services.runpacks.now(run_id)
    parts = runpack.open_pack(services.home, run_id)
    parts["trace.json"]["candidates"][0]["chunk_id"] = 1
    found = replays.replay(services.home, services.settings, parts)
    assert (found.is_same, found.missing) == (False, [1])
    assert "DIFFERENT" in found.text


def test_the_commands(http: httpx.Client, services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_id = str(_asked(http)["run_id"])
    monkeypatch.setenv("CODEINTEL_HOME", str(services.home.root))
    get_settings.cache_clear()

    def ran(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "## Coverage" in ran("telemetry", "report", run_id)
    assert json.loads(ran("telemetry", "report", run_id, "--json"))["run_id"] == run_id
    page = tmp_path / "report.html"
    assert str(page) in ran("telemetry", "report", run_id, "--format", "html", "-o", str(page))
    assert page.read_text().startswith("<!doctype html>")
    lines = [json.loads(line) for line in ran("telemetry", "ledger", run_id).splitlines()]
    assert [lines[0]["event"], lines[-1]["event"]] == ["run", "done"]
    made = json.loads(ran("telemetry", "runpack", run_id, "--json"))
    assert Path(made["path"]).exists()
    assert run_id in ran("telemetry", "tail", "-n", "50")
    assert any(json.loads(line)["run_id"] == run_id for line in ran("telemetry", "tail", "--json").splitlines())
    assert "ledger.jsonl" in ran("runpack", "show", run_id)
    assert "report.json" in json.loads(ran("runpack", "show", run_id, "--json"))
    assert "the same hits" in ran("runpack", "replay", run_id)


def test_a_catalog_that_fails_is_the_cause(
    services: Services, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> dict[int, object]:
        raise catalog.duckdb.IOException("Could not read from file")

    monkeypatch.setattr(catalog.Catalog, "hydrate", broken)
    failed = http.post("/search", json={"query": f"swap {uuid.uuid4()}"}).json()
    report = run_report(services.home, failed["run_id"])
    assert report.stopped_because == "hydrate.catalog failed: IOException: Could not read from file"
    assert "fused_not_hydrated" in {finding.kind for finding in report.findings}
