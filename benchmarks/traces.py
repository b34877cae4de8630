"""Traces at scale: journal lines per second, compaction of a day, and the main queries over 100k to 10M rows.

The rows are synthetic and seeded: 9 steps and 8 candidates each, over 30 days (a query drawn from 5,000, files from
20,000). DuckDB writes the daily tables directly; the journal and the compaction are measured with 100,000 rows.
Seconds are of the processor, all threads together, so that they compare on a machine that does other work as well; the
note has those of the clock.
"""

from __future__ import annotations

import resource
import statistics
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Self

import duckdb
import pyarrow.parquet as pq

from benchmarks.rows import Row, Rows
from benchmarks.workplace import Workplace
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_core.traces.journal import Journal
from codeintel_pipelines.analytics import database

_DAYS = 30
_FIRST = date(2026, 9, 1)
_JOURNALED = 100_000
_MEMORY = "2GB"
_QUERIES = {
    "latency by stage, one day": "SELECT stage, quantile_cont(ms, .95) FROM stages WHERE day = '2026-09-10' GROUP BY 1",
    "requests by day": "SELECT day, count(*), avg(total_ms) FROM answers GROUP BY 1",
    "one request by run id": "FROM trace_of('00000000-0000-0000-0000-000000000077')",
    "requests whose query holds a word": "SELECT count(*) FROM asked_like('question 42')",
    "report stage_latency": "stage_latency",
    "report channel_contribution": "channel_contribution",
    "report zero_hit_queries": "zero_hit_queries",
    "report hot_files": "hot_files",
    "report cocitations": "cocitations",
    "report slo_attainment": "slo_attainment",
}


def measure(at: Workplace) -> Rows:
    """Journal, compaction, then every query at every size."""
    yield from _journal(Home(at.folder / "journal"))
    for size in at.sizes:
        home = Home(at.folder / f"traces-{size}")
        yield from _queries(home, size * 10)


def _journal(home: Home) -> Rows:
    table = tables.traces(home)
    generate(home, _JOURNALED, days=1)
    day = f"{_FIRST}"
    rows = pq.read_table(table.path(day)).slice(0, 2_000).to_pylist()
    lines = [row | {"asked_at": row["asked_at"].isoformat(), "latency_ms": dict(row["latency_ms"])} for row in rows]
    table.path(day).unlink()
    at = datetime(_FIRST.year, _FIRST.month, _FIRST.day, tzinfo=UTC)
    journal = Journal(table.journals)
    with _Clock() as took:
        for number in range(_JOURNALED):
            journal.append(at, lines[number % len(lines)] | {"trace_id": str(number)})
    journal.close()
    size = sum(path.stat().st_size for path in table.journals.rglob("*.jsonl"))
    note = f"{size / _JOURNALED:.0f} B each"
    yield Row("traces", "journal, one worker", _JOURNALED / took.cpu_s, "rows/CPU-s", note=note)
    with _Clock() as took:
        done = tables.compact(table, day)
    note = f"{done.rows:,} rows, lost {done.lost}, {took.wall_s:.1f} s, peak {_peak_mib():.0f} MiB"
    yield Row("traces", "compaction of a day", done.rows / took.cpu_s, "rows/CPU-s", note=note)


def _queries(home: Home, size: int) -> Rows:
    subject = f"traces {size:,}"
    with _Clock() as took:
        generate(home, size, days=_DAYS)
    stored = sum(path.stat().st_size for path in tables.traces(home).files()) / 1e6
    yield Row(subject, "generated", took.cpu_s, "CPU-s", note=f"{took.wall_s:.1f} s, {stored:,.0f} MB of Parquet")
    reports = {report.name: report for report in database.reports()}
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET temp_directory = ?", [str(home.root / "spill")])
        database.create_views(connection, home, Settings(home=home.root))
        database.create_macros(connection)
        for name, query in _QUERIES.items():
            text = reports[query].sql if query in reports else query
            times = []
            for _ in range(3 if size <= 1_000_000 else 1):
                with _Clock() as took:
                    connection.execute(text).fetchall()
                times.append((took.cpu_s, took.wall_s))
            cpu_s, wall_s = map(statistics.median, zip(*times, strict=True))
            note = f"{wall_s:.2f} s, peak {_peak_mib():.0f} MiB, limit {_MEMORY}"
            yield Row(subject, name, cpu_s, "CPU-s", note=note, line=name, column=f"{size:,} traces, CPU-s")


class _Clock:
    """Seconds of the processor and of the clock that a block takes."""

    def __enter__(self) -> Self:
        self._began = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s = time.process_time() - self._began[0]
        self.wall_s = time.perf_counter() - self._began[1]


def generate(home: Home, size: int, *, days: int) -> None:
    """Write `size` rows over `days` daily tables, as `tables.compact` would."""
    table = tables.traces(home)
    names = ", ".join(f'"{name}"' for name in table.schema.names)
    with duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'; SET TimeZone = 'UTC'")
        for number in range(days):
            day = _FIRST + timedelta(days=number)
            path = table.path(f"{day}")
            path.parent.mkdir(parents=True, exist_ok=True)
            reader = connection.sql(
                f"SELECT {names} FROM ({_SYNTHETIC.format(day=day, first=number * size // days, rows=size // days)})"
            ).to_arrow_reader(20_000)
            _store(reader, table, path)


def _store(reader: object, table: tables.DailyTable, path: Path) -> None:
    with tables.writer(path, table) as writer:
        for batch in reader:  # type: ignore[attr-defined]
            writer.write_batch(tables.typed(batch, table.schema))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


_SYNTHETIC = """
WITH numbered AS (SELECT range + {first} AS i, hash(range + {first}) AS h FROM range({rows}))
SELECT printf('00000000-0000-0000-0000-%012d', i) AS trace_id, trace_id AS run_id, 's' || h % 1000 AS session_id,
    md5(i::VARCHAR) AS otel_trace_id, if(h % 3 = 0, 'answer', 'search') AS operation, 'rest' AS surface,
    'bench' AS machine,
    TIMESTAMPTZ '{day} 00:00:00+00' + to_microseconds((h % 86400000000)::BIGINT) AS asked_at,
    'question ' || h % 5000 || ' about the code' AS query, left(md5(query), 16) AS query_digest,
    'natural' AS query_kind, '{{}}' AS scope, 'hybrid' AS mode,
    [{{repo: 'r' || h % 20, gen_id: 'g' || i // 1000, "commit": 'c', dagster_run_id: 'd'}}] AS generations,
    [{{repo: 'r' || h % 20, commits_behind: (h % 4)::BIGINT, minutes_behind: (h % 40)::DOUBLE}}] AS lags,
    400 AS retrieval_budget_ms, 2000 AS total_budget_ms,
    list_transform(
        ['scope.resolve', 'query.profile', 'retrieve.dense', 'retrieve.lexical', 'fuse.scores', 'hydrate.catalog',
         'rerank', 'synthesize', 'trace.write'],
        lambda name, place: {{name: name, status: if(hash(i, place) % 50 = 0, 'timed_out', 'completed'), reason: '',
                           start_ms: place * 2.0, ms: (hash(i, place) % 4000) / 100.0}}) AS stages,
    map(['total'], [(h % 20000) / 100.0]) AS latency_ms,
    list_transform(range(8), lambda rank: {{
        chunk_id: (hash(i, rank, 1) % 200000)::BIGINT, repo: 'r' || h % 20,
        path: 'src/file' || hash(i // 7, rank) % 20000 || '.py', blob: md5(rank::VARCHAR), symbol: 'f' || h % 9000,
        start_line: 1::INTEGER, end_line: 20::INTEGER, rank: (rank + 1)::INTEGER, score: 1 / (rank + 1.0)::DOUBLE,
        fused: 0.5::DOUBLE,
        channels: list_filter(
            [{{channel: 'dense', rank: (hash(i, rank, 2) % 30)::INTEGER, score: 0.5::DOUBLE}},
             {{channel: 'lexical', rank: (hash(i, rank, 3) % 30)::INTEGER, score: 9.0::DOUBLE}}],
            lambda found: found.rank > 0),
        cited: h % 3 = 0 AND rank < 3, citation: if(h % 3 = 0 AND rank < 3, rank + 1, 0)::INTEGER}}) AS candidates,
    [{{channel: 'dense', weight: 1::DOUBLE, low: 0::DOUBLE, high: 1::DOUBLE}}] AS fusion, '' AS tuning_id,
    if(operation = 'answer', repeat('An answer that says where. ', 10), '') AS answer,
    if(operation = 'answer', 'm', '') AS model, '' AS prompt_version, (h % 3000)::INTEGER AS tokens_in,
    (h % 300)::INTEGER AS tokens_out, 'NaN'::DOUBLE AS time_to_first_token_ms, 'NaN'::DOUBLE AS tokens_per_second,
    '' AS finish, if(operation = 'answer', 3, 0) AS citations_verified, 0 AS citations_dropped,
    (h % 100) / 100.0 AS confidence, []::VARCHAR[] AS limits, if(h % 40 = 0, 'empty', 'ok') AS status, '' AS error,
    '' AS stopped_because
FROM numbered ORDER BY asked_at
"""
