"""Jobs: build one repository; refresh the tables that analysts read."""

import dagster as dg

# In process: a subprocess per step costs seconds, and the whole build of a small repository takes as long.
build_repository = dg.define_asset_job(
    "build_repository",
    selection=dg.AssetSelection.groups("ingest", "index", "publish"),
    executor_def=dg.in_process_executor,
    description="From the head commit of one repository to a published generation.",
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
