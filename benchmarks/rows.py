"""Rows of the one table that `make bench` prints, and how their numbers are written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

COLUMNS = ("subject", "measure", "value", "unit", "beside", "ratio", "note")


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, and what it is compared with in the same run.

    Attributes:
        measure: names the row within its subject; the history of a number is found by both.
        peer: name and value of the peer, in the same unit.
        ratio: how good it is beside the peer, above 1 is better: value / peer, or peer / value where less is better.
        line, column: where docs/performance.md has the number when several rows make one line of a table; rows of the
            same line and column share a cell.
    """

    subject: str
    measure: str
    value: float | str
    unit: str = ""
    peer: str = ""
    ratio: float | None = None
    note: str = ""
    line: str = ""
    column: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is empty is left out."""
        return {
            name: value if isinstance(value, str) else float(f"{value:.6g}")
            for name, value in asdict(self).items()
            if value not in ("", None)
        }

    def cells(self) -> tuple[str, ...]:
        """What the table shows, in the order of `COLUMNS`."""
        ratio = "" if self.ratio is None else shown(self.ratio)
        return self.subject, self.measure, shown(self.value), self.unit, self.peer, ratio, self.note


Rows = Iterator[Row]


def shown(value: float | str) -> str:
    """A number with three digits that mean something, all digits before the point."""
    if isinstance(value, str):
        return value
    size = abs(value)
    if size >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.2g}"


def percentiles(seconds: Sequence[float], percents: Sequence[float] = (50, 95)) -> tuple[float, ...]:
    """Percentiles of times, in milliseconds."""
    return tuple(map(float, np.percentile(np.array(seconds) * 1000, percents)))


def seconds(work: Callable[[], object]) -> float:
    """Seconds by the clock that a call takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
