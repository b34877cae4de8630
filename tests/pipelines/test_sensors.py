"""Sensors: the same state never asks for two runs, a moved head asks for one, and a roll back is left alone.

Generations come from the specimen of the core's tests: a sensor only looks at manifests, pointers, heads and journals.
"""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from codeintel_core import telemetry
from codeintel_core.errors import StorageFailed
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.rollback import resume, roll_back
from codeintel_core.home import Home
from codeintel_core.reports import runpack
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_pipelines import watch
from codeintel_pipelines.defs import schedules, sensors
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import plan_config
from tests.conftest import GitRepo, Repo
from tests.core import specimen

pytestmark = pytest.mark.e2e


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home; these tests need no model."""
    return Home(tmp_path / "home")


@pytest.fixture
def source(git_repo: GitRepo) -> Repo:
    """A repository without a commit."""
    return git_repo(name="demo")


def _tick(home: Home, sensor: dg.SensorDefinition, cursor: str | None = None) -> dg.SensorResult:
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"home": HomeResource(root=str(home.root))}
        )
        result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def _keys(result: dg.SensorResult) -> list[str | None]:
    return [request.run_key for request in result.run_requests or []]


def test_all_are_stopped_until_somebody_starts_them() -> None:
    found = [sensors.git_head, sensors.needs_compaction, sensors.new_traces, sensors.record_failure]
    assert {sensor.default_status for sensor in found} == {dg.DefaultSensorStatus.STOPPED}
    timed = [schedules.compaction_window, schedules.garbage_collection, schedules.freshness_watch]
    assert {schedule.default_status for schedule in timed} == {dg.DefaultScheduleStatus.STOPPED}


def test_a_moved_head_asks_once_for_a_build(home: Home, source: Repo) -> None:
    specimen.publish_files(home, source)
    assert _keys(_tick(home, sensors.git_head)) == []
    commit = source.commit({"new.py": "x = 1\n"})
    first = _tick(home, sensors.git_head)
    (request,) = first.run_requests or []
    assert request.partition_key == "demo"
    assert commit in str(request.run_key)
    assert _keys(_tick(home, sensors.git_head, first.cursor)) == _keys(first)  # the run key makes it one run
    assert mirror.head(home, "demo") != commit  # the tick fetched nothing
    assert json.loads(home.repository("demo").seen_head.read_text())["commit"] == commit
    (partitions,) = first.dynamic_partitions_requests or []
    assert list(partitions.partition_keys) == ["demo"]


def test_a_registered_repository_that_was_never_built_is_due(home: Home, source: Repo) -> None:
    source.commit({"a.py": "x = 1\n"})
    mirror.add(home, str(source.path), name="demo")
    assert len(_keys(_tick(home, sensors.git_head))) == 1


def test_a_commit_that_comes_back_is_built_again(home: Home, source: Repo) -> None:
    specimen.publish_files(home, source)
    first = source.commit({"new.py": "x = 1\n"})
    (before,) = _keys(_tick(home, sensors.git_head))
    specimen.publish_files(home, source, {"b.py": {"b": "def b():\n    pass\n"}})
    source.git("reset", "--quiet", "--hard", first)
    (after,) = _keys(_tick(home, sensors.git_head))
    assert first in str(before) and first in str(after)
    assert before != after


def test_a_roll_back_is_not_undone_until_it_is_resumed_or_a_commit_comes(home: Home, source: Repo) -> None:
    specimen.publish_files(home, source)
    specimen.publish_files(home, source, {"b.py": {"b": "def b():\n    pass\n"}})
    roll_back(home, "demo")
    assert _keys(_tick(home, sensors.git_head)) == []
    resume(home, "demo")
    assert len(_keys(_tick(home, sensors.git_head))) == 1
    roll_back(home, "demo", sorted(p.name for p in home.repository("demo").generations.iterdir())[0])
    assert _keys(_tick(home, sensors.git_head)) == []
    source.commit({"new.py": "x = 1\n"})
    assert len(_keys(_tick(home, sensors.git_head))) == 1


def test_urls_are_asked_at_intervals_and_within_the_time_of_a_tick(home: Home, source: Repo) -> None:
    source.commit({"a.py": "x = 1\n"})
    for name in ("one", "two"):
        mirror.add(home, f"file://{source.path}", name=name)
    settings = Settings(home=home.root, head_interval_s=100)
    found = watch.heads(home, settings, {}, now=1_000.0)
    assert sorted(due.partition for due in found.due) == ["one", "two"]
    assert found.asked == {"one": 1_000.0, "two": 1_000.0}
    assert watch.heads(home, settings, found.asked, now=1_099.0).due == []
    assert len(watch.heads(home, settings, found.asked, now=1_100.0).due) == 2
    # A tick whose time is used up by the first URL leaves the second to the next tick, where it comes first.
    readings = iter([0.0, 0.0, 9.0])
    found = watch.heads(home, settings, {"two": 5.0}, now=1_000.0, clock=lambda: next(readings))
    assert [due.partition for due in found.due] == ["one"]
    assert found.waiting == {"two": "the tick has no time left"}
    assert found.asked == {"one": 1_000.0, "two": 5.0}


def test_a_source_that_cannot_be_asked_does_not_stop_the_others(home: Home, source: Repo, git_repo: GitRepo) -> None:
    source.commit({"a.py": "x = 1\n"})
    other = git_repo({"a.py": "x = 1\n"}, name="gone")
    mirror.add(home, str(source.path), name="demo")
    mirror.add(home, str(other.path), name="gone")
    other.path.rename(other.path.with_name("elsewhere"))
    found = watch.heads(home, Settings(home=home.root), {}, now=0.0)
    assert [due.partition for due in found.due] == ["demo"]
    assert list(found.waiting) == ["gone"]


def _with_ratio(folder: Path, secondary: int) -> None:
    manifest = manifests.load(folder)
    counts = manifest.counts.model_copy(update={"secondary": secondary})
    reuse = {"lucene_added": counts.lucene}
    manifests.save(folder, manifest.model_copy(update={"counts": counts, "reuse": reuse}))


def test_a_ratio_above_the_setting_asks_once_per_generation(home: Home, source: Repo) -> None:
    folder = specimen.publish_files(home, source)
    _with_ratio(folder, 0)
    assert _keys(_tick(home, sensors.needs_compaction)) == []
    _with_ratio(folder, 1)
    result = _tick(home, sensors.needs_compaction)
    assert _keys(result) == [f"compact@{folder.name}"]
    assert (result.run_requests or [])[0].run_config == plan_config(compact=True)
    requests = schedules.compaction_window(
        dg.build_schedule_context(resources={"home": HomeResource(root=str(home.root))})
    )
    assert [request.run_key for request in requests] == _keys(result)  # the same run, whoever asks first


def test_journals_that_grew_ask_for_their_day_and_tables_for_the_database(home: Home) -> None:
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    assert _keys(_tick(home, sensors.new_traces)) == []
    path = home.trace_journal / f"date={day}" / "worker.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("{}\n")
    first = _tick(home, sensors.new_traces)
    assert [(r.job_name, r.partition_key, r.run_key) for r in first.run_requests or []] == [
        ("compact_traces", day, f"{day}@3")
    ]
    assert _keys(_tick(home, sensors.new_traces, first.cursor)) == []
    path.write_text("{}\n{}\n")
    assert _keys(_tick(home, sensors.new_traces, first.cursor)) == [f"{day}@6"]
    table = home.trace_daily / f"date={day}" / "traces.parquet"
    table.parent.mkdir(parents=True)
    table.write_bytes(b"")
    (request,) = _tick(home, sensors.new_traces, json.dumps({day: 6})).run_requests or []
    assert request.job_name == "refresh_analytics"
    home.analytics.parent.mkdir(parents=True)
    home.analytics.write_bytes(b"")
    assert _keys(_tick(home, sensors.new_traces, json.dumps({day: 6}))) == []


def test_a_failed_run_leaves_a_record_without_secrets(home: Home) -> None:
    @dg.op
    def fails() -> None:
        raise RuntimeError("cannot fetch https://ada:hunter2@example.org/x.git")

    @dg.job
    def failing() -> None:
        fails()

    with dg.instance_for_test() as instance:
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
        resources = {"home": HomeResource(root=str(home.root))}
        context = dg.build_run_status_sensor_context(
            "record_failure", result.get_run_failure_event(), instance, result.dagster_run, resources=resources
        ).for_run_failure()
        sensors.record_failure(context)
    (path,) = home.failures.iterdir()
    record = json.loads(path.read_text())
    assert (record["run_id"], record["job"]) == (result.dagster_run.run_id, "failing")
    assert record["steps"] == {"fails": "RuntimeError: cannot fetch https://***@example.org/x.git"}
    assert "hunter2" not in path.read_text()


def test_a_failed_build_leaves_a_runpack_that_names_the_cause(home: Home, source: Repo) -> None:
    @dg.op
    def fails() -> None:
        with telemetry.run("build", home.ledger, run_id=run_id), telemetry.step("build.dense"):
            raise StorageFailed("the disk of the home folder is full")

    @dg.job
    def failing() -> None:
        fails()

    run_id = str(uuid.uuid4())
    with dg.instance_for_test() as instance:
        result = failing.execute_in_process(instance=instance, raise_on_error=False, run_id=run_id)
        resources = {"home": HomeResource(root=str(home.root))}
        context = dg.build_run_status_sensor_context(
            "record_failure", result.get_run_failure_event(), instance, result.dagster_run, resources=resources
        ).for_run_failure()
        sensors.record_failure(context)
    parts = runpack.open_pack(home, run_id)
    assert parts["meta.json"]["trigger"] == "sensor"
    assert parts["meta.json"]["stopped_because"] == (
        "build.dense failed: storage-failed: the disk of the home folder is full"
    )
    assert parts["report.json"]["failure"]["job"] == "failing"
