"""A living Dagster: sensors build what was committed and compact what grew, and a backfill builds the rest.

Real processes: `dagster dev` with its daemon, its web server and a code server, and a process per run. Only the
interval of the sensors is shortened.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_pipelines import runs
from codeintel_pipelines.build import lease
from tests.conftest import GitRepo, Repo
from tests.pipelines.conftest import FILES
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
_ROOT = Path(__file__).parents[2]
_LIMIT_S = 280
_MODULE = "codeintel_pipelines.definitions"
_CODE = {"repositoryName": "__repository__", "repositoryLocationName": _MODULE}
_START = """
mutation($at: SensorSelector!) { startSensor(sensorSelector: $at) { __typename ... on PythonError { message } } }"""
_BACKFILL = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}"""
_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"""


@dataclass(frozen=True)
class Living:
    """A running Dagster on a home."""

    home: Home
    url: str
    process: subprocess.Popen[bytes]

    def graphql(self, query: str, **variables: Any) -> Any:
        """The data of an answer of the web server."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """What `found` returns once it is true; the end of Dagster's log when that never happens."""
        ends = time.monotonic() + _LIMIT_S
        while time.monotonic() < ends and self.process.poll() is None:
            if value := found():
                return value
            time.sleep(0.2)  # Dagster tells nobody that a tick or a run is over: it can only be asked again
        raise AssertionError(f"{what} did not happen\n{(self.home.root / 'dagster.log').read_text()[-4000:]}")

    def is_up(self) -> bool:
        """Whether the web server answers and knows the sensors."""
        try:
            return httpx.get(f"{self.url}/server_info", timeout=5).is_success
        except httpx.HTTPError:
            return False


@pytest.fixture
def living(home: Home) -> Iterator[Living]:
    """`dagster dev` on an empty home."""
    home.dagster.mkdir()
    shutil.copyfile(_ROOT / "dagster.yaml", home.dagster / "dagster.yaml")
    env = {
        **os.environ, "CODEINTEL_HOME": str(home.root), "DAGSTER_HOME": str(home.dagster),
        "CODEINTEL_SENSOR_INTERVAL_S": "1",
    }  # fmt: skip
    port = free_port()
    with (home.root / "dagster.log").open("wb") as log:
        process = subprocess.Popen(
            [Path(sys.executable).parent / "dagster", "dev", "-m", _MODULE, "-h", "127.0.0.1", "-p", str(port)],
            env=env, cwd=home.root, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    yield Living(home, f"http://127.0.0.1:{port}", process)
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _served(home: Home, name: str) -> Manifest | None:
    gen_id = current_id(home.repository(name))
    return manifests.load(home.repository(name).generation(gen_id)) if gen_id else None


def test_sensors_build_and_compact_and_a_backfill_builds_many(
    home: Home, source: Repo, living: Living, git_repo: GitRepo
) -> None:
    living.until("the start of the web server", living.is_up)
    names = ["one", "two", "busy"]
    for name in names:
        other = git_repo({f"{name}.py": f"def of_{name}():\n    return 1\n"}, name=name)
        mirror.add(home, str(other.path), name=name)
    _backfill(home, living, names)
    mirror.add(home, str(source.path), name="calculator")
    for sensor in ("git_head", "needs_compaction"):
        done = living.graphql(_START, at={**_CODE, "sensorName": sensor})
        assert done["startSensor"]["__typename"] == "Sensor", done
    first = living.until("a first generation", lambda: _served(home, "calculator"))
    assert first.commit == source.git("rev-parse", "HEAD")
    changed = FILES["src/parser.py"].replace("tokens.pop(0)", "tokens.pop()")
    commit = source.commit({"src/parser.py": changed})

    def is_compacted() -> bool:
        now = _served(home, "calculator")
        return now is not None and now.commit == commit and now.counts.compaction_ratio == 0

    living.until("a build and a compaction", is_compacted)
    made = [manifests.load(path) for path in sorted(home.repository("calculator").generations.iterdir())]
    assert [manifest.commit for manifest in made] == [first.commit, commit, commit]
    assert made[1].counts.compaction_ratio > 0.05
    with runs.instance(home) as instance:
        found = [instance.get_run_by_id(manifest.dagster_run_id) for manifest in made]
    assert [run.tags["dagster/sensor_name"] for run in found if run] == ["git_head", "git_head", "needs_compaction"]


def _backfill(home: Home, living: Living, names: list[str]) -> None:
    """One queued run per repository; the one that another run is building is a run that says it was skipped."""
    with runs.instance(home) as instance:
        instance.add_dynamic_partitions("repository", names)
        other = instance.create_run_for_job(_any_job()).run_id  # never launched
    lease.acquire(home.repository("busy"), other, lambda _: False)
    selector = {"partitionSetName": "build_repository_partition_set", "repositorySelector": _CODE}
    params = {"selector": selector, "partitionNames": names}
    backfill = living.graphql(_BACKFILL, params=params)["launchPartitionBackfill"]
    assert backfill["__typename"] == "LaunchBackfillSuccess", backfill

    def ended() -> bool:
        found = living.graphql(_STATUS, id=backfill["backfillId"])["partitionBackfillOrError"]
        return str(found["status"]).startswith("COMPLETED")

    living.until("the end of the backfill", ended)
    with runs.instance(home) as instance:
        tag = {"dagster/backfill": backfill["backfillId"]}
        tags = [run.tags for run in instance.get_runs(dg.RunsFilter(tags=tag))]
    skipped = {tag["dagster/partition"]: tag.get("codeintel/skipped", "") for tag in tags}
    assert set(skipped) == set(names)
    assert skipped["one"] == skipped["two"] == ""
    assert "is being built by run" in skipped["busy"]
    assert {name for name in names if _served(home, name)} == {"one", "two"}


def _any_job() -> dg.JobDefinition:
    from codeintel_pipelines.definitions import defs

    return defs.resolve_job_def("collect_garbage")
