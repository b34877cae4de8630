"""Run reports and runpacks for every face: one function each, and the writer that packs failures in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from enum import StrEnum
from typing import Any

from codeintel_core.errors import UnknownRun
from codeintel_core.home import Home
from codeintel_core.reports import runpack, views
from codeintel_core.reports.detectors import Thresholds
from codeintel_core.reports.model import RunReport
from codeintel_core.reports.run_report import LAST, run_report
from codeintel_core.settings import Settings
from codeintel_core.telemetry import metrics, position
from codeintel_core.telemetry.position import Inside, Place

_QUEUED = 16
_log = logging.getLogger("codeintel.runpack")


class Format(StrEnum):
    """How a report is shown."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


MEDIA_TYPES = {Format.JSON: "application/json", Format.MARKDOWN: "text/markdown", Format.HTML: "text/html"}


def report(
    home: Home, settings: Settings, run_id: str = LAST, may_see: Callable[[frozenset[str]], bool] = lambda _: True
) -> RunReport:
    """The report of a run; `may_see` is asked about the repositories it touched.

    Raises:
        UnknownRun: nothing is kept of it, or the caller may not see it: the same words for both.
    """
    found = run_report(home, run_id, Thresholds.of(settings))
    if not may_see(found.repos):
        raise UnknownRun(f"no ledger is kept of run {found.run_id}; `codeintel telemetry tail` lists the newest runs")
    return found


def rendered(found: RunReport, form: Format) -> str:
    """The report in one of its forms."""
    if form is Format.MARKDOWN:
        return views.markdown(found)
    return views.html(found) if form is Format.HTML else found.model_dump_json(indent=2)


class RunpackWriter:
    """Packs failed runs one after the other in a thread of its own: an error answers without waiting for its file."""

    def __init__(self, home: Home, settings: Settings, readiness: Callable[[], Mapping[str, Any]] | None) -> None:
        self._home, self._settings, self._readiness = home, settings, readiness
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="runpack")
        self._queued: set[str] = set()
        self._lock = threading.Lock()

    def request(self, run_id: str) -> None:
        """Pack a failed run soon, in the trace of the caller; more than a few at once are left out and counted."""
        with self._lock:
            if run_id in self._queued:
                return
            if len(self._queued) >= _QUEUED:
                metrics.RUNPACKS.labels("error", "shed").inc()
                return
            self._queued.add(run_id)
        try:
            self._pool.submit(self._pack, run_id, position.current())
        except RuntimeError:  # closed
            metrics.RUNPACKS.labels("error", "shed").inc()

    def now(self, run_id: str) -> runpack.Built | None:
        """Pack a run on demand."""
        return runpack.build(
            self._home, run_id, trigger=runpack.DEMAND, settings=self._settings, readiness=self._readiness
        )

    def close(self) -> None:
        """Finish what was asked for."""
        self._pool.shutdown(wait=True)

    def _pack(self, run_id: str, failed: Place | None) -> None:
        try:
            with Inside(failed) if failed is not None else nullcontext():
                runpack.build(self._home, run_id, trigger="error", settings=self._settings, readiness=self._readiness)
        finally:
            with self._lock:
                self._queued.discard(run_id)
