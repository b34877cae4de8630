"""How long each kind of step took lately, from the newest ledgers: what a run is compared with."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codeintel_core.telemetry import Status, ledger

MIN_SAMPLES = 20
_RUNS = 200
_TTL_S = 30.0
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Trend:
    """p95 of the duration in ms by kind of step, of kinds with enough samples."""

    p95_ms: Mapping[str, float]


_lock = threading.Lock()
_known: dict[Path, tuple[float, list[tuple[str, str, float]]]] = {}


def recent_trend(folder: Path, *, except_run: str = "") -> Trend:
    """p95 per kind over the newest runs but one; the samples are kept for half a minute."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for run_id, kind, duration_ms in _samples(folder):
        if run_id != except_run:
            by_kind[kind].append(duration_ms)
    return Trend({kind: p95(values) for kind, values in by_kind.items() if len(values) >= MIN_SAMPLES})


def p95(values: list[float]) -> float:
    """The 95th percentile: the smallest value that 95 % do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, -(-95 * len(ordered) // 100) - 1)]


def _samples(folder: Path) -> list[tuple[str, str, float]]:
    """(run id, kind, ms) of the completed steps of the newest runs."""
    with _lock:
        known = _known.get(folder)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
    found: list[tuple[str, str, float]] = []
    for path in ledger.newest(folder, _RUNS):
        try:
            if path.stat().st_size > _MAX_BYTES:
                continue
            lines = ledger.read_file(path)
        except OSError:  # retention took it, or the run goes on and has no file yet
            continue
        found += [
            (path.stem, str(line["kind"]), float(line["duration_ms"]))
            for line in lines
            if line.get("event") == "end" and line.get("status") == Status.COMPLETED and "duration_ms" in line
        ]
    with _lock:
        _known.clear()
        _known[folder] = (time.monotonic() + _TTL_S, found)
    return found
