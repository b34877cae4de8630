"""Sensors: policy on state. They are stopped until somebody starts them (docs/operations.md); no tick fetches."""

import json
import time
from datetime import UTC, datetime

import dagster as dg

from codeintel_core.errors import BucketUnavailable, InvalidRequest, VectorEngineUnavailable
from codeintel_core.reports import runpack
from codeintel_core.secrets import without_users
from codeintel_core.settings import get_settings
from codeintel_pipelines import watch
from codeintel_pipelines.defs.jobs import build_repository, compact_repository, compact_traces, refresh_analytics
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import plan_config

_MOST_CHARS = 2_000


@dg.sensor(
    job=build_repository,
    minimum_interval_seconds=get_settings().sensor_interval_s,
    description="The head of a source differs from what serves, or the vector engine lacks what serves: build it. "
    "Respects a roll back.",
)
def git_head(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    """One run per repository, commit and served generation; one per hour or day for what the vector engine lacks."""
    asked = json.loads(context.cursor) if context.cursor else {}
    found = watch.heads(home.home, home.settings, asked, time.time())
    for name, reason in found.waiting.items():
        context.log.info(f"{name}: {reason}")
    due = found.due
    try:
        others = {*found.waiting, *(one.partition for one in due)}  # a build brings it there too, once it can run
        lacking = watch.not_in_engine(home.home, home.settings, datetime.now(UTC))
        due = [*due, *(one for one in lacking if one.partition not in others)]
    except VectorEngineUnavailable as error:
        context.log.warning(f"whether the vector engine holds what serves is not known: {error}")
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=one.run_key, partition_key=one.partition) for one in due],
        dynamic_partitions_requests=[repositories.build_add_request([one.partition for one in due])],
        cursor=json.dumps(found.asked),
    )


@dg.sensor(
    job=compact_repository,
    minimum_interval_seconds=get_settings().sensor_interval_s,
    description="(secondary + tombstones) / primary of what serves is above the setting: compact it.",
)
def needs_compaction(home: HomeResource) -> dg.SensorResult:
    """One run per generation."""
    config = plan_config(compact=True)
    due = watch.outgrown(home.home, home.settings)
    return dg.SensorResult(
        run_requests=[dg.RunRequest(run_key=d.run_key, partition_key=d.partition, run_config=config) for d in due]
    )


@dg.sensor(
    jobs=[compact_traces, refresh_analytics],
    minimum_interval_seconds=300,
    description="Journals grew, or other machines handed rows over: rewrite the table of that day; "
    "tables are newer than codeintel.duckdb: rewrite it.",
)
def new_traces(context: dg.SensorEvaluationContext, home: HomeResource) -> dg.SensorResult:
    """One run per day and journal size, one per day and what waits in the bucket, and one per newest table."""
    grown, sizes = watch.journals(home.home, json.loads(context.cursor) if context.cursor else {})
    try:
        here = {due.partition for due in grown}  # their runs bring in the rest
        grown += [due for due in watch.segments(home.settings, datetime.now(UTC)) if due.partition not in here]
    except (BucketUnavailable, InvalidRequest) as error:
        context.log.warning(f"what other machines handed over waits: {error}")
    requests = [
        dg.RunRequest(run_key=due.run_key, partition_key=due.partition, job_name=compact_traces.name) for due in grown
    ]
    if key := watch.stale_analytics(home.home):
        requests.append(dg.RunRequest(run_key=key, job_name=refresh_analytics.name))
    return dg.SensorResult(run_requests=requests, cursor=json.dumps(sizes))


delta_exports = dg.AutomationConditionSensorDefinition(
    "delta_exports",
    target=dg.AssetSelection.groups("delta"),
    minimum_interval_seconds=300,
    description="A generation was published or a day of traces compacted: export it to Delta Lake.",
)


def _cause(event: dg.DagsterEvent) -> str:
    """The first line of the innermost error of a failed step, without credentials."""
    error = event.step_failure_data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return without_users((error.message.strip().splitlines() or [""])[0])[:_MOST_CHARS] if error is not None else ""


@dg.run_failure_sensor(
    minimum_interval_seconds=30,
    description="A run failed: keep a record under failures/ and a runpack under runpacks/ in the home.",
)
def record_failure(context: dg.RunFailureSensorContext, home: HomeResource) -> None:
    """Write failures/<run_id>.json, and runpacks/<run_id>.zip when a step of it left a ledger."""
    run = context.dagster_run
    record = {
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": run.tags.get("dagster/partition", ""),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "message": without_users(context.failure_event.message or "")[:_MOST_CHARS],
        "steps": {event.step_key: _cause(event) for event in context.get_step_failure_events()},
    }
    folder = home.home.failures
    folder.mkdir(parents=True, exist_ok=True)
    pending = folder / f"{run.run_id}.tmp"
    pending.write_text(json.dumps(record, indent=1) + "\n")
    pending.replace(folder / f"{run.run_id}.json")
    runpack.build(home.home, run.run_id, trigger="sensor", settings=home.settings)
