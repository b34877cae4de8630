"""Rows of the one table that `make bench` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement, and what it is compared with in the same run."""

    subject: str
    measure: str
    value: float | str
    unit: str = ""
    peer: str = ""  # name and value of the peer, in the same unit
    ratio: float | None = None  # value / peer (or peer / value where less is better: above 1 is good)
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        value = f"{self.value:,.4g}" if isinstance(self.value, float) else str(self.value)
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return self.subject, self.measure, value, self.unit, self.peer, ratio, self.note


Rows = Iterator[Row]


def percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(np.array(seconds) * 1000, [50, 95])
    return float(p50), float(p95)
