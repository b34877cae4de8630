"""Jobs: build or compact one repository, look after what was built, refresh the tables that analysts read."""

import dagster as dg

from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.retention import sweep
from codeintel_pipelines.stages import plan_config

FRESHNESS = dg.AssetCheckKey(dg.AssetKey("generation"), "group_is_fresh")
_BUILD = dg.AssetSelection.groups("ingest", "index", "publish") - dg.AssetSelection.checks(FRESHNESS)

# In process: a subprocess per step costs seconds, and the whole build of a small repository takes as long.
build_repository = dg.define_asset_job(
    "build_repository",
    selection=_BUILD,
    executor_def=dg.in_process_executor,
    description="From the head commit of one repository to a published generation.",
)

compact_repository = dg.define_asset_job(
    "compact_repository",
    selection=_BUILD,
    config=plan_config(compact=True),
    executor_def=dg.in_process_executor,
    description="A new generation of the served commit with one primary and one Lucene index, beside the served one.",
)

compact_traces = dg.define_asset_job(
    "compact_traces",
    selection=dg.AssetSelection.groups("traces"),
    executor_def=dg.in_process_executor,
    description="Journals of one day become one Parquet file.",
)

refresh_analytics = dg.define_asset_job(
    "refresh_analytics",
    selection=dg.AssetSelection.groups("analytics"),
    executor_def=dg.in_process_executor,
    description="Rewrite codeintel.duckdb.",
)

learn_from_traces = dg.define_asset_job(
    "learn_from_traces",
    selection=dg.AssetSelection.groups("learning"),
    executor_def=dg.in_process_executor,
    description="Propose weights of fusion from judged requests; promote them when later sessions say that they help.",
)

export_chunks = dg.define_asset_job(
    "export_chunks",
    selection=["chunks_delta"],
    executor_def=dg.in_process_executor,
    description="The served chunk table of one repository as a Delta table.",
)

export_traces = dg.define_asset_job(
    "export_traces",
    selection=["answer_traces_delta"],
    executor_def=dg.in_process_executor,
    description="All days of traces as a Delta table.",
)

check_freshness = dg.define_asset_job(
    "check_freshness",
    selection=dg.AssetSelection.checks(FRESHNESS),
    executor_def=dg.in_process_executor,
    description="Compare the lag of every repository with the target of its group.",
)


@dg.op(description="Removes generations that are neither served, recent, pinned, leased nor young.")
def remove_unneeded_generations(context: dg.OpExecutionContext, home: HomeResource) -> None:
    """Collect every repository; the log says what was kept and why."""
    swept = sweep(home.home, home.settings)
    for done in swept.repositories:
        context.log.info(f"{done.repo}: removed {done.removed or 'nothing'}, kept {done.kept}, also {done.leftovers}")
    context.log.info(f"files of old versions of Delta tables: removed {len(swept.delta_files)}")
    for gone in swept.bucket:
        context.log.info(f"{gone.repo}: dropped {gone.dropped or 'nothing'} in the bucket, kept {gone.kept}")
    for taken in swept.vector_engine:
        context.log.info(f"{taken.repo}: {taken.generations or 'nothing'} taken out of the vector engine")
    freed = sum(done.freed_bytes for done in swept.repositories)
    context.add_output_metadata(
        {"removed": sum(len(done.removed) for done in swept.repositories), "freed_bytes": freed}
    )


@dg.job(executor_def=dg.in_process_executor, description="Remove the generations that nobody needs.")
def collect_garbage() -> None:
    """Garbage collection of the whole home."""
    remove_unneeded_generations()
