"""Logs: lines that nobody can forge, and the newest ones kept for runpacks."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

from codeintel_core.secrets import RedactingFormatter
from codeintel_core.telemetry import metrics
from codeintel_core.telemetry.redaction import redacted
from codeintel_core.telemetry.runs import current_run

FORMAT = "%(levelname)s %(name)s %(message)s"
_CONTINUED = "\n  | "
_KEPT_LINES = 2_000


class SafeFormatter(RedactingFormatter):
    """One record is one line, or a line and what is visibly its continuation; secrets are masked.

    What a record quotes (a query, a path, an endpoint's answer) can then neither fake a record nor move the cursor.
    """

    def __init__(self, fmt: str = FORMAT) -> None:
        super().__init__(fmt)

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the run it belongs to."""
        run = current_run()
        run_id = getattr(record, "run_id", "") or (run.run_id if run else "")
        text = super().format(record) + (f" run_id={run_id}" if run_id and not record.exc_info else "")
        return _CONTINUED.join(map(_visible, text.split("\n")))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the name of the base class)
        """The message alone never has a second line; tracebacks, which follow it, do."""
        return super().formatMessage(record).replace("\n", "\\n")


def _visible(line: str) -> str:
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)


@dataclass(frozen=True, slots=True)
class Line:
    """A kept log line."""

    run_id: str
    text: str


class RecentLines(logging.Handler):
    """The newest lines of this process, redacted; runpacks take them from here."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=_KEPT_LINES)
        self.setFormatter(SafeFormatter("%(asctime)s " + FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        try:
            run = current_run()
            run_id = str(getattr(record, "run_id", "") or (run.run_id if run else ""))
            self._lines.append(Line(run_id, redacted(self.format(record), 2_000)))
        except Exception:  # a record with wrong arguments must not break who logged it; counted, never silent
            metrics.TELEMETRY_ERRORS.inc()

    def of(self, run_id: str, count: int) -> list[str]:
        """The last `count` lines of a run, oldest first."""
        return [line.text for line in list(self._lines) if line.run_id == run_id][-count:]


_recent = RecentLines()
_lock = threading.Lock()


def keep_recent() -> None:
    """Start to keep what the product logs; more calls change nothing."""
    with _lock:
        logger = logging.getLogger("codeintel")
        if _recent not in logger.handlers:
            logger.addHandler(_recent)


def recent(run_id: str, count: int = 200) -> list[str]:
    """The last lines that this process logged for a run."""
    return _recent.of(run_id, count)
