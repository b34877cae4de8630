"""Schedules: compaction window, garbage collection, learning, freshness check; stopped until somebody starts them."""

import dagster as dg

from codeintel_pipelines import watch
from codeintel_pipelines.defs.jobs import check_freshness, collect_garbage, compact_repository, learn_from_traces
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import plan_config


@dg.schedule(
    job=compact_repository,
    cron_schedule="0 3 * * *",
    description="At night, compact every repository that has anything to merge.",
)
def compaction_window(home: HomeResource) -> list[dg.RunRequest]:
    """One run per generation that is not compact."""
    return [
        dg.RunRequest(run_key=due.run_key, partition_key=due.partition, run_config=plan_config(compact=True))
        for due in watch.not_compact(home.home)
    ]


garbage_collection = dg.ScheduleDefinition(
    name="garbage_collection",
    job=collect_garbage,
    cron_schedule="30 4 * * *",
    description="Remove the generations that nobody needs.",
)

learning = dg.ScheduleDefinition(
    name="learning",
    job=learn_from_traces,
    cron_schedule="0 5 * * 1",
    description="Once a week, see whether what people opened says something about the weights of fusion.",
)

freshness_watch = dg.ScheduleDefinition(
    name="freshness_watch",
    job=check_freshness,
    cron_schedule="*/15 * * * *",
    description="Compare the lag of every repository with the target of its group.",
)
