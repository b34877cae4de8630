"""Analytics: the DuckDB file that analysts open."""

import dagster as dg

from codeintel_pipelines.analytics import write_views
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot


@dg.asset(
    group_name="analytics",
    deps=["answer_traces"],
    kinds={"duckdb"},
    owners=["team:code-intelligence"],
    description="codeintel.duckdb with the views answers, stages and candidates; replaced at once, readers never wait.",
)
def analytics_database(home: HomeResource) -> dg.MaterializeResult:
    """Write analytics/codeintel.duckdb."""
    with home.rewrite_analytics() as connection:
        counts = write_views(connection, home.home)
    return dg.MaterializeResult(metadata={"rows": bar_plot(counts), **counts})
