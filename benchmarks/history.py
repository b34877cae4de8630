"""The trend of every ratio, and which are worse than they used to be.

Only ratios to a peer are judged: both sides were measured in the same minutes, so that a busy machine cancels out. The
share of a fixed goal is shown and not judged.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS
from benchmarks.results import HISTORY
from benchmarks.rows import shown

_LEAST = 0.8
"""A ratio below this share of the median of the former runs is a regression."""
_SHOWN = 8

Key = tuple[str, str, str, str]


@dataclass(frozen=True, slots=True)
class Trend:
    """All ratios of one number on one kind of machine, oldest first."""

    subject: str
    measure: str
    repo: str
    machine: str
    ratios: tuple[float, ...]
    value: str
    peer: str

    @property
    def former(self) -> float | None:
        """Median of all runs before the last; None for a number that was measured once."""
        return statistics.median(self.ratios[:-1]) if len(self.ratios) > 1 else None

    @property
    def is_worse(self) -> bool:
        """Whether the last run is a regression."""
        if self.former is None or self.peer.startswith("goal"):
            return False
        return self.ratios[-1] < _LEAST * self.former

    def line(self) -> str:
        """The trend as text."""
        of = f" ({self.repo})" if self.repo else ""
        ratios = " ".join(map(shown, self.ratios[-_SHOWN:]))
        judged = "" if self.former is None else f"; median before {shown(self.former)}"
        worse = "  REGRESSION" if self.is_worse else ""
        return f"{self.subject}{of}: {self.measure}: {ratios}{judged}; now {self.value} beside {self.peer}{worse}"


def trends(subject: str = "", folder: Path = RESULTS) -> Iterator[Trend]:
    """Every number with a ratio that this subject measured (all without one), in order of first appearance."""
    found: dict[Key, list[dict[str, Any]]] = defaultdict(list)
    path = folder / HISTORY
    for text in path.read_text().splitlines() if path.exists() else ():
        line = json.loads(text)
        if "ratio" in line and subject in ("", line["file"]):
            found[line["subject"], line["measure"], line["repo"], line["machine"]].append(line)
    for key, lines in found.items():
        last = lines[-1]
        value = f"{shown(last['value'])} {last.get('unit', '')}".strip()
        yield Trend(*key, tuple(line["ratio"] for line in lines), value, last.get("peer", ""))


def show(subject: str, folder: Path = RESULTS) -> int:
    """Print the trends; 1 when one is a regression."""
    found = list(trends(subject, folder))
    for trend in found:
        print(trend.line())
    worse = sum(trend.is_worse for trend in found)
    print(f"{len(found)} ratios, {worse} below {_LEAST:g} of the median of their former runs")
    return int(worse > 0)
