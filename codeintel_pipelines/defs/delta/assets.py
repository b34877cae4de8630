"""Delta: the chunk tables and the answer traces once more, for readers of Delta Lake; left out without the extra."""

from collections.abc import Callable
from typing import Any

import dagster as dg

from codeintel_core import schemas
from codeintel_core.generations.manifest import NOT_CONFIGURED
from codeintel_pipelines import delta
from codeintel_pipelines.delta import Exported
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import column_schema, partition_of

_OWNERS = ["team:code-intelligence"]
# Traces have a partition a day, and most days have none: those must not hold the export back.
_WHEN_CHANGED = dg.AutomationCondition.eager().without(~dg.AutomationCondition.any_deps_missing())


def _materialize(context: dg.AssetExecutionContext, export: Callable[[], Exported]) -> dg.MaterializeResult:
    if not delta.is_there():
        context.log.warning(f"no Delta table is written: the extra is not installed ({delta.HOW})")
        return dg.MaterializeResult(metadata={"skipped": NOT_CONFIGURED, "to_configure": delta.HOW})
    done = export()
    facts: dict[str, Any] = {
        "dagster/row_count": done.rows,
        "delta_version": done.version,
        "is_new_version": bool(done.written),
        "written": ", ".join(done.written) or "nothing: the table had it",
        "files": done.files,
        "size_bytes": done.size_bytes,
    }
    return dg.MaterializeResult(metadata=facts)


@dg.asset(
    partitions_def=repositories,
    group_name="delta",
    deps=["generation"],
    kinds={"deltalake", "parquet"},
    owners=_OWNERS,
    automation_condition=_WHEN_CHANGED,
    metadata={"dagster/column_schema": column_schema(schemas.CHUNKS)},
    description="delta/chunks/REPO: the served chunk table as a Delta table, one version per exported generation.",
)
def chunks_delta(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write a new version unless the last one is of the served generation."""
    at, days = home.home, home.settings.delta_keep_days
    return _materialize(
        context, lambda: delta.export_chunks(at, partition_of(context), context.run.run_id, keep_days=days)
    )


@dg.asset(
    group_name="delta",
    deps=["answer_traces"],
    kinds={"deltalake", "parquet"},
    owners=_OWNERS,
    automation_condition=_WHEN_CHANGED,
    metadata={"dagster/column_schema": column_schema(schemas.ANSWER_TRACES)},
    description="delta/answer_traces: all days of traces as a Delta table, a version for each day that changed.",
)
def answer_traces_delta(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write the days whose table is not the one that was exported last."""
    at, days = home.home, home.settings.delta_keep_days
    return _materialize(context, lambda: delta.export_traces(at, context.run.run_id, keep_days=days))
