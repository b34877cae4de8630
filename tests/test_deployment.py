"""deploy/ for teams: what can be checked without a cluster or a container engine, and its processes on a real
PostgreSQL."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_pipelines import runs
from tests.conftest import GitRepo, skip_unavoidable
from tests.ports import free_port
from tests.postgres_server import PostgresServer

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
MANIFESTS = [
    manifest
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for manifest in yaml.safe_load_all(path.read_text())
]
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "codeintel"}
PODS = {
    manifest["metadata"]["name"]: manifest["spec"]["template"]["spec"]
    for manifest in MANIFESTS
    if manifest["kind"] == "Deployment"
}
# Read by deploy/dagster.postgres.yaml and deploy/entrypoint.sh, not by Settings.
NOT_SETTINGS = {"CODEINTEL_DAGSTER_DB"}


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']}-{manifest['metadata']['name']}"
)
def test_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_kustomization_names_every_manifest() -> None:
    folder = DEPLOY / "kubernetes"
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert sorted([*named, "kustomization.yaml"]) == sorted(path.name for path in folder.iterdir())


def test_containerfile_is_clean() -> None:
    done = subprocess.run([BIN / "hadolint", DEPLOY / "Containerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_files_and_services_that_compose_names_exist() -> None:
    for name, service in COMPOSE["services"].items():
        assert set(service.get("depends_on", [])) <= set(COMPOSE["services"]), name
        for source in (volume.partition(":")[0] for volume in service.get("volumes", [])):
            made_by_user = source == "./secrets"
            assert source in COMPOSE["volumes"] or made_by_user or (DEPLOY / source).exists(), source
        for condition in (service.get("depends_on") or {}) if isinstance(service.get("depends_on"), dict) else {}:
            assert "healthcheck" in COMPOSE["services"][condition], f"{name} waits for the health of {condition}"


def test_environments_name_settings_that_exist() -> None:
    known = {f"CODEINTEL_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    settings = next(m for m in MANIFESTS if m["kind"] == "ConfigMap")["data"]
    text = "".join(
        path.read_text() for path in (DEPLOY / "compose.yaml", DEPLOY / "Containerfile", DEPLOY / "entrypoint.sh")
    )
    assert set(settings) <= known
    assert set(re.findall(r"CODEINTEL_[A-Z_]+[A-Z]", text)) <= known


def test_both_deployments_start_the_same_processes() -> None:
    in_pods = {
        name: container["args"]
        for name, pod in PODS.items()
        for container in pod["containers"]
        if container["image"] == "codeintel"
    }
    assert in_pods == {name: service["command"] for name, service in OURS.items()}


def test_prometheus_configuration_of_the_team(tmp_path: Path) -> None:
    if not shutil.which("promtool"):
        skip_unavoidable("no-prometheus")
    for name in ("team.yml", "rules.yml"):
        shutil.copy(DEPLOY / "prometheus" / name, tmp_path)
    key = tmp_path / "metrics-key"
    key.write_text("a-key")
    config = tmp_path / "team.yml"
    config.write_text(config.read_text().replace("/etc/codeintel/metrics-key", str(key)))
    subprocess.run(["promtool", "check", "config", config], check=True, capture_output=True)


class Team:
    """The processes of compose.yaml without their containers: its commands and entrypoint on one host."""

    def __init__(self, home: Home, database: str, stack: ExitStack) -> None:
        self.home, self._stack = home, stack
        self.ports = {"4000": str(free_port()), "3000": str(free_port())}
        self.url = f"http://127.0.0.1:{self.ports['3000']}"
        self.environment = {
            **os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "CODEINTEL_HOME": str(home.root),
            "DAGSTER_HOME": str(home.dagster), "CODEINTEL_DAGSTER_DB": database,
        }  # fmt: skip

    def start(self, service: str) -> None:
        """Start a service of compose.yaml; it ends with the test."""
        here = {**self.ports, "0.0.0.0": "127.0.0.1", "dagster-code": "127.0.0.1"}  # one host, free ports
        command = [here.get(argument, argument) for argument in OURS[service]["command"]]
        self._stack.enter_context(_running([DEPLOY / "entrypoint.sh", *command], self.environment, self._log(service)))

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """What `found` returns once it is true."""
        ends = time.monotonic() + 240
        while time.monotonic() < ends:
            with suppress(httpx.HTTPError):
                if value := found():
                    return value
            time.sleep(0.2)  # of other processes, which tell nobody; each look is a request or reads the home
        logs = "\n".join(f"{name}: {self._log(name).read_text()[-1500:]}" for name in OURS if self._log(name).exists())
        raise AssertionError(f"{what} did not happen\n{logs}")

    def graphql(self, query: str, **variables: Any) -> Any:
        """The data of an answer of the web server."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def _log(self, service: str) -> Path:
        return self.home.root / f"{service}.log"


@contextmanager
def _running(command: Sequence[str | Path], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


_REPOSITORIES = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"""
_BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_a_team_builds_through_the_queue_on_postgresql(
    tmp_path: Path, git_repo: GitRepo, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backfill of two repositories goes through daemon, queue and code server; its history is in PostgreSQL."""
    home = Home(tmp_path / "home")
    home.root.mkdir()
    names = ["one", "two"]
    for name in names:
        source = git_repo({"store.py": f"def keep_{name}(row):\n    return row\n"}, name=name)
        mirror.add(home, str(source.path), name=name)
    with ExitStack() as stack:
        database = postgres.database("dagster")
        team = Team(home, database.replace("postgresql:", "postgresql+psycopg2:"), stack)
        for service in ("dagster-code", "dagster-daemon", "dagster-webserver"):
            team.start(service)
        found = team.until(
            "the start of Dagster", lambda: team.graphql(_REPOSITORIES)["repositoriesOrError"].get("nodes")
        )
        # This process registers partitions in the same database, under the team's dagster.yaml.
        monkeypatch.setenv("CODEINTEL_DAGSTER_DB", team.environment["CODEINTEL_DAGSTER_DB"])
        runs.register_partitions(home, names)
        selector = {"repositoryName": found[0]["name"], "repositoryLocationName": found[0]["location"]["name"]}
        launched = team.graphql(
            _BACKFILL,
            params={
                "selector": {"partitionSetName": "build_repository_partition_set", "repositorySelector": selector},
                "partitionNames": names,
            },
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        for name in names:
            team.until(f"a generation of {name}", lambda name=name: current_id(home.repository(name)))
        query = "SELECT status, count(*) FROM runs WHERE pipeline_name = 'build_repository' GROUP BY status"
        with postgres.connect(database) as history:
            team.until("the end of the runs", lambda: ("SUCCESS", 2) in history.execute(query).fetchall())
        with runs.instance(home) as instance:
            assert {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()} == {"embedding": 2}
            assert instance.run_monitoring_enabled
