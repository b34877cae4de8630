"""Traces: the journals that serving writes become one table a day, each row once."""

from collections.abc import Callable

import dagster as dg

from codeintel_core.errors import BucketUnavailable
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_core.traces.tables import Compacted, DailyTable
from codeintel_pipelines.partitions import days
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import column_schema


def _materialize(table: DailyTable, day: str, settings: Settings) -> dg.MaterializeResult:
    """Compact a day, with what other machines handed over of it; the bucket lets go of that once it is in the table."""
    gathering, machines, problems = shared.gathering(settings), 0, list[str]()
    brought = gathering.bring(day, only=[table]) if gathering is not None else None
    done = tables.compact(table, day)
    if gathering is not None and brought is not None:
        machines, problems = brought.machines, brought.problems
        try:
            if not done.lost:
                gathering.let_go(brought.segments)
        except BucketUnavailable as error:
            problems.append(str(error))
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": done.rows,
            "dagster/column_schema": column_schema(table.schema),
            "size_bytes": table.path(day).stat().st_size,
            "journaled": done.journaled,
            "late": done.late,
            "torn_lines": done.torn,
            "other_machines": machines,
            "segments": len(brought.segments) if brought is not None else 0,
        },
        check_results=_checks(done, problems),
    )


def _checks(done: Compacted, problems: list[str]) -> list[dg.AssetCheckResult]:
    lost = dg.AssetCheckResult(check_name="no_row_lost", passed=done.lost == 0, metadata={"lost": done.lost})
    facts = {"late": done.late, "of_another_day": done.misdated, "torn_lines": done.torn}
    on_time = dg.AssetCheckResult(
        check_name="rows_on_time", severity=dg.AssetCheckSeverity.WARN, passed=not any(facts.values()), metadata=facts
    )
    arrived = dg.AssetCheckResult(
        check_name="machines_arrived", severity=dg.AssetCheckSeverity.WARN, passed=not problems,
        metadata={"problems": problems},
    )  # fmt: skip
    return [lost, on_time, arrived]


def _specs(asset: str) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec("no_row_lost", asset=asset, blocking=True,
                          description="Every row of a journal, and every row stored before, is in the table once."),
        dg.AssetCheckSpec("rows_on_time", asset=asset,
                          description="No row came late or belongs to another day; no line is torn."),
        dg.AssetCheckSpec("machines_arrived", asset=asset,
                          description="What other machines handed over to the home's bucket was brought in, whole."),
    ]  # fmt: skip


def _journal(name: str, writers: str) -> dg.AssetSpec:
    """The raw files, which no run makes: they are where lineage begins."""
    return dg.AssetSpec(
        name,
        partitions_def=days,
        group_name="sources",
        kinds={"json"},
        owners=["team:code-intelligence"],
        description=f"Append-only JSON lines, one file per worker and day, written by {writers}.",
    )


def _daily(name: str, journal: str, table_of: Callable[[Home], DailyTable], description: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        deps=[journal],
        partitions_def=days,
        group_name="traces",
        kinds={"parquet"},
        owners=["team:code-intelligence"],
        description=description,
        check_specs=_specs(name),
    )
    def write_day(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
        return _materialize(table_of(home.home), context.partition_key, home.settings)

    return write_day


trace_journal = _journal("trace_journal", "the server and the command line for every search and answer")
feedback_journal = _journal("feedback_journal", "the server and the command line for every judgement")
answer_traces = _daily(
    "answer_traces", "trace_journal", tables.traces,
    "One row per search and answer of the day, from every worker's journal, each once.",
)  # fmt: skip
answer_feedback = _daily(
    "answer_feedback", "feedback_journal", tables.feedback, "One row per judgement and opened citation of the day."
)
