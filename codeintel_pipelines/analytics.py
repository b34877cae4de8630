"""The analysts' database: views over the trace tables, so that DuckDB answers without a server."""

from __future__ import annotations

import duckdb
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.home import Home

VIEWS = {
    "answers": """
        SELECT * EXCLUDE (stages, candidates, latency_ms), latency_ms['total'] AS total_ms,
               [g.gen_id FOR g IN generations] AS gen_ids
        FROM traces""",
    "stages": """
        SELECT trace_id, run_id, asked_at, operation, stage.name AS stage, stage.status AS status,
               stage.reason AS reason, stage.start_ms AS start_ms, stage.ms AS ms
        FROM (SELECT trace_id, run_id, asked_at, operation, unnest(stages) AS stage FROM traces)""",
    "candidates": """
        SELECT trace_id, run_id, asked_at, operation, query, unnest(candidates, recursive := true) FROM traces""",
}


def write_views(connection: duckdb.DuckDBPyConnection, home: Home) -> dict[str, int]:
    """Create the views over the daily trace files; returns the rows of each."""
    # A glob without a file is an error in DuckDB: one empty file with the schema is always there.
    empty = home.trace_daily / "date=1970-01-01" / "traces.parquet"
    if not empty.exists():
        empty.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(schemas.ANSWER_TRACES.empty_table(), empty)
    pattern = str(home.trace_daily / "*" / "traces.parquet").replace("'", "''")
    connection.execute(
        f"CREATE VIEW traces AS SELECT * FROM read_parquet('{pattern}', hive_partitioning = false, "  # noqa: S608
        "union_by_name = true)"
    )
    for name, query in VIEWS.items():
        connection.execute(f"CREATE VIEW {name} AS {query}")
    counts = {}
    for name in ("traces", *VIEWS):
        row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()  # noqa: S608 (our names)
        counts[name] = int(row[0]) if row else 0
    return counts
