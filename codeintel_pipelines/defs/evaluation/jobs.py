"""The evaluation job: apart from building, since it costs minutes and publishes nothing."""

import dagster as dg

evaluate_retrieval = dg.define_asset_job(
    "evaluate_retrieval",
    selection=dg.AssetSelection.groups("evaluation"),
    executor_def=dg.in_process_executor,
    description="Mine golden queries of one repository and measure its served generation with them.",
)
