"""What is kept of traces, feedback and ledgers, and for how long."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from codeintel_core.home import Home
from codeintel_core.telemetry import filing
from codeintel_core.traces import tables

_DATE = "date="


@dataclass(frozen=True, slots=True)
class Expired:
    """What was removed: journal files that a table holds, days of traces and feedback, days of ledgers."""

    journals: int
    traces: list[str]
    ledgers: list[str]


def expire(
    home: Home, today: date, *, trace_days: int, ledger_days: int, dry_run: bool = False,
    spared: Collection[Path] = (),
) -> Expired:  # fmt: skip
    """Remove what is older than the limits, and journals whose rows are in a day's table, but for `spared` ones."""
    oldest, oldest_ledger = today - timedelta(days=trace_days), today - timedelta(days=ledger_days)
    ledgers = [
        folder
        for folder in sorted(home.ledger.glob(f"{_DATE}*"))
        if tables.EMPTY_DAY not in folder.name and date.fromisoformat(folder.name.removeprefix(_DATE)) < oldest_ledger
    ]
    if not dry_run:
        filing.recover(home.ledger)
        for folder in ledgers:
            shutil.rmtree(folder, ignore_errors=True)
    return Expired(
        sum(tables.remove_compacted(table, today, dry_run=dry_run, spared=spared) for table in tables.every(home)),
        sorted({day for table in tables.every(home) for day in tables.expire(table, oldest, dry_run=dry_run)}),
        [folder.name.removeprefix(_DATE) for folder in ledgers],
    )
