"""Analytics: one table per report, and the DuckDB file that analysts open."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from codeintel_pipelines.analytics import database
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot

_GROUP = "analytics"
_OWNERS = ["team:code-intelligence"]
_DEPS = ["answer_traces", "answer_feedback"]
_PREVIEW_ROWS = 10


@dg.multi_asset(
    name="analytics_reports",
    specs=[
        dg.AssetSpec(
            report.name, deps=_DEPS, group_name=_GROUP, owners=_OWNERS, kinds={"duckdb", "parquet"},
            description=report.description, code_version=report.version,
        )
        for report in database.reports()
    ],
    can_subset=True,
)  # fmt: skip
def analytics_reports(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Run the selected reports over the daily tables, each into analytics/reports/NAME.parquet."""
    chosen = {key.to_user_string() for key in context.selected_asset_keys}
    with home.scratch_database() as connection:
        database.create_views(connection, home.home, home.settings)
        for report in database.reports():
            if report.name in chosen:
                path = database.write_report(connection, report, home.home)
                yield dg.MaterializeResult(asset_key=report.name, metadata=_metadata(path))


@dg.asset(
    group_name=_GROUP,
    deps=[report.name for report in database.reports()],
    kinds={"duckdb"},
    owners=_OWNERS,
    description="codeintel.duckdb: views over traces and generations, reports, macros; replaced at once.",
)
def analytics_database(home: HomeResource) -> dg.MaterializeResult:
    """Write analytics/codeintel.duckdb."""
    with home.rewrite_analytics() as connection:
        database.create_views(connection, home.home, home.settings)
        counts = database.add_reports_and_macros(connection, home.home)
    return dg.MaterializeResult(metadata={"rows": bar_plot(counts), **counts})


def _metadata(path: Path) -> dict[str, dg.MetadataValue | int]:
    import polars as pl

    table = pl.read_parquet(path)
    with pl.Config(tbl_formatting="ASCII_MARKDOWN", tbl_hide_dataframe_shape=True, tbl_rows=-1, tbl_cols=-1):
        preview = str(table.head(_PREVIEW_ROWS))
    schema = dg.TableSchema([dg.TableColumn(name, str(kind)) for name, kind in table.schema.items()])
    return {
        "dagster/row_count": table.height,
        "dagster/column_schema": dg.MetadataValue.table_schema(schema),
        "preview": dg.MetadataValue.md(preview),
        "size_bytes": path.stat().st_size,
    }
