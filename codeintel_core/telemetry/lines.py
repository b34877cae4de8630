"""The lines of the ledger. Texts in them are redacted before they get here."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from codeintel_core.telemetry import metrics, redaction

if TYPE_CHECKING:
    from codeintel_core.telemetry.conventions import Outcome
    from codeintel_core.telemetry.runs import StepRecord

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE


def head(
    run_id: str, section: str, operation: str, trace_id: str, session_id: str, caller: str, started_at: datetime
) -> bytes:
    """The first line of a run."""
    row = {
        "run_id": run_id, "section": section, "ms": 0.0, "event": "run", "operation": operation, "trace_id": trace_id,
        "session_id": redaction.masked(session_id), "at": started_at.isoformat(), "caller": redaction.masked(caller),
    }  # fmt: skip
    return _json(row, "session_id")


def begin(run_id: str, section: str, ms: float, kind: str, span_id: str) -> bytes:
    """The line of a step that starts. Half of all lines: put together by hand, since nothing in it needs quoting."""
    return (
        f'{{"run_id":"{run_id}","section":"{section}","ms":{ms:.3f},"event":"begin","kind":"{kind}",'
        f'"span_id":"{span_id}"}}\n'
    ).encode()


def end(run_id: str, section: str, record: StepRecord) -> bytes:
    """The line of a step that ended."""
    kind, status, reason, start_ms, duration_ms, attributes, span_id, parent_id, detail = record
    row = {
        "run_id": run_id, "section": section, "ms": start_ms + duration_ms, "event": "end", "kind": kind,
        "span_id": span_id, "parent_id": parent_id, "status": str(status), "reason": reason, "detail": detail,
        "start_ms": start_ms, "duration_ms": duration_ms, "attributes": attributes,
    }  # fmt: skip
    return _json(row, "attributes")


def done(run_id: str, section: str, ms: float, outcome: Outcome) -> bytes:
    """The last line of a run."""
    return _json({"run_id": run_id, "section": section, "ms": ms, "event": "done", "status": outcome.value})


def _json(row: dict[str, Any], foreign: str = "") -> bytes:
    """A line; without its field of foreign values when that cannot be written, for a missing line means something."""
    try:
        return orjson.dumps(row, str, _OPTIONS)
    except TypeError:
        metrics.TELEMETRY_ERRORS.inc()
        return orjson.dumps({key: value for key, value in row.items() if key != foreign}, str, _OPTIONS)
