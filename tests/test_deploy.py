"""deploy/: rules and their own tests pass, and every query of the dashboard runs against a real Prometheus that scrapes
a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.telemetry import metrics
from codeintel_serving.services import Services
from tests.conftest import skip_unavoidable
from tests.fake_endpoint import FakeEndpoint, completion, said, streamed
from tests.ports import free_port
from tests.serving.running import running, until
from tests.serving.workshop import FILES, Workshop, new_repository, settings_for

DEPLOY = Path(__file__).parents[1] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
DASHBOARD = json.loads((DEPLOY / "grafana" / "codeintel.json").read_text())
QUERIES = {
    panel["title"]: target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])
}  # fmt: skip
NEEDS_EVENTS = {"Steps that did not complete", "Findings of exported runs", "Traces kept and left", "Runpacks"}
"""Panels that are rightly empty while nothing goes wrong or is exported."""


@pytest.fixture
def _prometheus_is_there() -> None:
    if not (shutil.which("promtool") and shutil.which("prometheus")):
        skip_unavoidable("no-prometheus")


def _run(*arguments: str, cwd: Path = PROMETHEUS, stdin: bytes = b"") -> str:
    done = subprocess.run(arguments, cwd=cwd, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode() + done.stderr.decode()


@pytest.mark.usefixtures("_prometheus_is_there")
def test_configuration_and_rules() -> None:
    _run("promtool", "check", "config", "prometheus.yml")
    _run("promtool", "test", "rules", "rules_test.yml")


def test_queries_and_rules_name_metrics_that_exist() -> None:
    """Also where there is no promtool: every metric named is one that the server or a rule makes."""
    rules = (PROMETHEUS / "rules.yml").read_text()
    source = (Path(metrics.__file__).read_text()) + (DEPLOY.parent / "codeintel_serving" / "exposition.py").read_text()
    made = set(re.findall(r'"(codeintel_\w+)"', source))
    recorded = set(re.findall(r"record: (\S+)", rules))
    for text in [*QUERIES.values(), rules]:
        for name in set(re.findall(r"\bcodeintel_\w+", text)) - {
            "codeintel_ratios",
            "codeintel_objectives",
            "codeintel_state",
        }:
            assert re.sub(r"_(bucket|count|sum)$", "", name) in made, name
        assert set(re.findall(r"\bcodeintel:\w+:\w+", text)) <= recorded
    assert len(made) >= 20


@contextmanager
def _prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    port = free_port()
    shipped = (PROMETHEUS / "prometheus.yml").read_text()
    (folder / "prometheus.yml").write_text(shipped.replace("127.0.0.1:8321", target).replace("15s", "200ms"))
    shutil.copy(PROMETHEUS / "rules.yml", folder)
    server = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--enable-feature=exemplar-storage"],
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            yield client
    finally:
        server.terminate()
        server.wait(30)


def _answered(prometheus: httpx.Client, query: str) -> list[Any]:
    try:
        found = prometheus.get("/api/v1/query", params={"query": query})
    except httpx.TransportError:  # it is still starting
        return []
    if found.status_code == 503:
        return []
    body = found.json()
    assert body["status"] == "success", f"{query}: {body}"
    return list(body["data"]["result"])


def _values(result: list[Any]) -> list[str]:
    return [one["value"][1] for one in result]


@pytest.mark.e2e
@pytest.mark.usefixtures("_prometheus_is_there")
def test_every_query_of_the_dashboard_runs(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    mirror.add(home, str(new_repository(tmp_path / "shop", FILES)), name="shop")
    workshop = Workshop(home, LocalEncoder(tmp_path / "models", "int8", threads=1))
    workshop.build("shop")
    routes = {
        "/v1/models": said({"data": [{"id": "m", "max_model_len": 16_384}]}),
        "/v1/chat/completions": streamed(completion(["Renamed [1]."])),
    }
    with FakeEndpoint(routes) as fake:
        settings = settings_for(home, chat_base_url=fake.url, chat_model="m", watch_interval_s=60)
        with (
            Services(settings, encoder=lambda: workshop.encoder) as services,
            running(services) as url,
            httpx.Client(base_url=url, timeout=60) as http,
            _prometheus(tmp_path, url.removeprefix("http://")) as prometheus,
        ):
            services.warm()

            def ask() -> None:
                http.post("/search", json={"query": f"publish generation {uuid.uuid4()}"}).raise_for_status()
                http.post(
                    "/answer", json={"question": f"how is a generation published atomically? {uuid.uuid4()}"}
                ).raise_for_status()
                http.get("/readyz")

            ask()
            until(lambda: _answered(prometheus, "codeintel_answers_total"))
            wanted = {title: query for title, query in QUERIES.items() if title not in NEEDS_EVENTS}

            def is_answered() -> bool:
                ask()
                for title, query in list(wanted.items()):
                    if _answered(prometheus, query):
                        del wanted[title]
                return not wanted

            until(is_answered)
            for query in QUERIES.values():
                _answered(prometheus, query)
            assert _values(_answered(prometheus, 'up{job="codeintel"}')) == ["1"]
            exemplars = prometheus.get(
                "/api/v1/query_exemplars",
                params={"query": "codeintel_request_seconds_bucket", "start": "0", "end": "9999999999"},
            ).json()  # fmt: skip
            assert exemplars["data"]
            text = http.get("/metrics")
            _run("promtool", "check", "metrics", stdin=text.content)
            openmetrics = http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
            assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
            assert re.search(r'codeintel_request_seconds_bucket.* # \{trace_id="[0-9a-f]{32}"\}', openmetrics.text)
