"""The analysts' database: views over the daily tables and the served generations, reports as tables, macros.

Views read Parquet files of the home by absolute path, so that DuckDB answers without a server and without a copy;
a home that was moved needs one `codeintel analytics`.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from codeintel_core import schemas
from codeintel_core.errors import GenerationCorrupt
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_pipelines.analytics.statements import Statement, statements
from codeintel_pipelines.build import parts
from codeintel_pipelines.evaluation import own

BASE = {
    "traces": "One row per search and answer as it was journaled, with nested lists.",
    "feedback_given": "One row per judgement of an answer, per citation that was opened, and per file that a session "
    "read, as it was journaled.",
    "ledger": "One row per line of the step ledger: the begin and the end of every step of every run.",
    "generations": "Every generation on disk: commit, time, counts, and whether it is served.",
    "evaluations": "Every evaluation: repository, generation, kind of query, ranking, metric, mean and interval.",
    "files": "The files of the served generations.",
    "chunks": "The chunks of the served generations, with their text.",
    "symbols": "The definitions and references of the served generations.",
    "prices": "What a million tokens cost, from the settings.",
}
"""Views and tables that the others build on."""
_JOURNALED = {"traces": "traces", "feedback": "feedback_given"}
_SERVED = {
    "files": schemas.FILES.insert(0, pa.field("repo", pa.string())),
    "chunks": schemas.CHUNKS,
    "symbols": schemas.SYMBOLS,
}
_LEDGER = {
    "run_id": "VARCHAR", "ms": "DOUBLE", "event": "VARCHAR", "operation": "VARCHAR", "trace_id": "VARCHAR",
    "session_id": "VARCHAR", "at": "TIMESTAMPTZ", "kind": "VARCHAR", "status": "VARCHAR", "reason": "VARCHAR",
    "start_ms": "DOUBLE", "duration_ms": "DOUBLE", "attributes": "JSON",
}  # fmt: skip
_GENERATIONS = pa.schema(
    [
        ("repo", pa.string()), ("gen_id", pa.string()), ("parent", pa.string()), ("commit", pa.string()),
        ("committed_at", pa.timestamp("us", "UTC")), ("created_at", pa.timestamp("us", "UTC")),
        ("dagster_run_id", pa.string()), ("is_served", pa.bool_()), ("files", pa.int64()), ("chunks", pa.int64()),
        ("symbols", pa.int64()), ("primary_vectors", pa.int64()), ("secondary_vectors", pa.int64()),
        ("tombstones", pa.int64()), ("compaction_ratio", pa.float64()), ("size_bytes", pa.int64()),
    ]
)  # fmt: skip
_EVALUATIONS = pa.schema(
    [
        ("repo", pa.string()), ("gen_id", pa.string()), ("evaluated_at", pa.timestamp("us", "UTC")),
        ("query_kind", pa.string()), ("ranking", pa.string()), ("metric", pa.string()), ("mean", pa.float64()),
        ("low", pa.float64()), ("high", pa.float64()),
    ]
)  # fmt: skip


def reports() -> tuple[Statement, ...]:
    """The reports, one table each."""
    return statements("reports")


def create_views(connection: duckdb.DuckDBPyConnection, home: Home, settings: Settings) -> None:
    """Create everything that reports read."""
    connection.execute("SET TimeZone = 'UTC'")
    for table in tables.every(home):
        tables.upgrade(table)
        if not table.path(tables.EMPTY_DAY).exists():
            tables.write_empty(table)
        _view(connection, _JOURNALED[table.name], f"FROM read_parquet({_text(table.glob)}, hive_partitioning = false)")
    _ledger(connection, home)
    _table(connection, "generations", pa.Table.from_pylist(_generations(home), schema=_GENERATIONS))
    _table(connection, "evaluations", pa.Table.from_pylist(_evaluations(home), schema=_EVALUATIONS))
    _served(connection, home)
    connection.execute(
        "CREATE TABLE prices AS SELECT ?::DOUBLE AS price_in, ?::DOUBLE AS price_out",
        [settings.price_per_mtoken_in, settings.price_per_mtoken_out],
    )
    for view in statements("views"):
        _view(connection, view.name, view.sql)


def write_report(connection: duckdb.DuckDBPyConnection, report: Statement, home: Home) -> Path:
    """Run one report and replace its Parquet file at once; returns the file."""
    path = report_path(home, report.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pending = path.with_suffix(".next")
    connection.execute(f"COPY ({report.sql}) TO {_text(str(pending))} (FORMAT parquet, COMPRESSION zstd)")
    pending.replace(path)
    return path


def report_path(home: Home, name: str) -> Path:
    """The Parquet file of a report."""
    return home.reports / f"{name}.parquet"


def add_reports_and_macros(connection: duckdb.DuckDBPyConnection, home: Home) -> dict[str, int]:
    """Copy the reports into the database and create the macros; returns the rows of every table and view."""
    for report in reports():
        source = _text(str(report_path(home, report.name)))
        connection.execute(f"CREATE TABLE {report.name} AS FROM read_parquet({source})")
        _describe(connection, "TABLE", report)
    for view in statements("views"):
        _describe(connection, "VIEW", view)
    create_macros(connection)
    names = [*BASE, *(one.name for one in (*statements("views"), *reports()))]
    return {name: _count(connection, name) for name in names if name != "ledger"}  # thousands of small files


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the macros over the views."""
    for macro in statements("macros"):
        connection.execute(f"CREATE MACRO {macro.name} {macro.sql}")


def _describe(connection: duckdb.DuckDBPyConnection, kind: str, one: Statement) -> None:
    connection.execute(f"COMMENT ON {kind} {one.name} IS {_text(one.description)}")


def _count(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    return int(row[0]) if row else 0


def _view(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    connection.execute(f"CREATE VIEW {name} AS {query}")


def _table(connection: duckdb.DuckDBPyConnection, name: str, rows: pa.Table) -> None:
    connection.register("rows_to_copy", rows)
    connection.execute(f"CREATE TABLE {name} AS FROM rows_to_copy")
    connection.unregister("rows_to_copy")


def _ledger(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    columns = ", ".join(f"{_text(name)}: {_text(kind)}" for name, kind in _LEDGER.items())
    empty = home.ledger / f"date={tables.EMPTY_DAY}" / "empty.jsonl"
    empty.parent.mkdir(parents=True, exist_ok=True)
    empty.touch()
    _view(
        connection,
        "ledger",
        f'SELECT * RENAME ("at" AS started_at) FROM '  # AT is a reserved word
        f"read_json({_text(str(home.ledger / '*' / '*.jsonl'))}, format = 'newline_delimited', "
        f"ignore_errors = true, hive_partitioning = false, columns = {{{columns}}}) WHERE run_id IS NOT NULL",
    )


def _served(connection: duckdb.DuckDBPyConnection, home: Home) -> None:
    folders = [
        repository.generation(gen_id)
        for repository in map(home.repository, home.repository_names())
        if (gen_id := current_id(repository)) is not None
    ]
    for name, schema in _SERVED.items():
        sources = (_source(folder / f"{name}.parquet") for folder in folders)
        found = [_text(str(path)) for path in sources if path is not None]
        if not found:
            _table(connection, name, schema.empty_table())
            continue
        # The table of files does not name its repository; its folder does.
        repo = "regexp_extract(filename, '.*/repos/([^/]+)/generations/', 1) AS repo, " if name == "files" else ""
        source = f"read_parquet([{', '.join(found)}], filename = true)"
        _view(connection, name, f"SELECT {repo}* EXCLUDE (filename) FROM {source}")


def _source(table: Path) -> Path | None:
    """What to read of a generation's table, which is one file or a folder of parts; None when it has neither."""
    if table.is_dir():
        return table / "part-*.parquet" if parts.files(table) else None
    return table if table.exists() else None


def _generations(home: Home) -> list[dict[str, Any]]:
    found = []
    for repository in map(home.repository, home.repository_names()):
        served = current_id(repository)
        for folder in sorted(repository.generations.glob("*")):
            try:
                found.append(_generation(repository, folder, served))
            except GenerationCorrupt:
                continue  # `codeintel generations` and readiness name it; it has no facts to list
    return found


def _generation(repository: RepositoryHome, folder: Path, served: str | None) -> dict[str, Any]:
    manifest = manifests.load(folder)
    counts = manifest.counts
    return {
        "repo": repository.name, "gen_id": manifest.gen_id, "parent": manifest.parent, "commit": manifest.commit,
        "committed_at": manifest.committed_at, "created_at": manifest.created_at,
        "dagster_run_id": manifest.dagster_run_id, "is_served": manifest.gen_id == served, "files": counts.files,
        "chunks": counts.chunks, "symbols": counts.symbols, "primary_vectors": counts.primary,
        "secondary_vectors": counts.secondary, "tombstones": counts.tombstones,
        "compaction_ratio": counts.compaction_ratio,
        "size_bytes": sum(file.size_bytes for file in manifest.files.values()),
    }  # fmt: skip


def _evaluations(home: Home) -> list[dict[str, Any]]:
    return [
        {"repo": repo, "gen_id": row["gen_id"], "evaluated_at": row["at"], "query_kind": kind, "ranking": ranking,
         "metric": metric, **found}
        for repo in home.repository_names()
        for row in map(_with_time, own.history(home.repository(repo).root))
        for kind, rankings in row["results"].items()
        for ranking, metrics in rankings.items()
        for metric, found in metrics.items()
    ]  # fmt: skip


def _with_time(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "at": datetime.fromisoformat(row["at"])}


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
