"""Traces: the journals that serving writes become one table a day."""

import dagster as dg
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.traces import journal
from codeintel_pipelines.partitions import days
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot, column_schema


@dg.asset(
    partitions_def=days,
    group_name="traces",
    kinds={"parquet"},
    owners=["team:code-intelligence"],
    description="One row per search and answer of the day, from every worker's journal, each trace once.",
    check_specs=[dg.AssetCheckSpec("unique_trace_ids", asset="answer_traces", blocking=True)],
)
def answer_traces(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write traces/daily/date=DAY/traces.parquet, replacing it at once."""
    day = context.partition_key
    table = journal.read_day(home.home.trace_journal, day)
    target = home.home.trace_daily / f"date={day}" / "traces.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    pending = target.with_suffix(".next")
    pq.write_table(table, pending, compression="zstd")
    pending.replace(target)
    operations = table["operation"].to_pylist()
    ids = table["trace_id"].to_pylist()
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": table.num_rows,
            "dagster/column_schema": column_schema(schemas.ANSWER_TRACES),
            "operations": bar_plot({name: operations.count(name) for name in sorted(set(operations))}),
            "size_bytes": target.stat().st_size,
        },
        check_results=[dg.AssetCheckResult(check_name="unique_trace_ids", passed=len(set(ids)) == len(ids))],
    )
