"""Logs to OTLP. The one module that touches `opentelemetry.sdk._logs`, which is still private."""

from __future__ import annotations

import logging

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import get_current
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry import metrics, position
from codeintel_core.telemetry.redaction import redacted
from codeintel_core.telemetry.runs import current_run

_LOGGED = ("run_id", "span_id", "kind", "status", "reason", "duration_ms")
_SEVERITIES = (
    (logging.CRITICAL, SeverityNumber.FATAL),
    (logging.ERROR, SeverityNumber.ERROR),
    (logging.WARNING, SeverityNumber.WARN),
    (logging.INFO, SeverityNumber.INFO),
)


class LogBridge(logging.Handler):
    """Sends what the product logs, steps included, to OTLP: correlated by the span that is current."""

    def __init__(self, resource: Resource, exporter: LogRecordExporter | None = None) -> None:
        super().__init__(logging.DEBUG)
        self._provider = LoggerProvider(resource, shutdown_on_exit=False)
        self._provider.add_log_record_processor(BatchLogRecordProcessor(exporter or OTLPLogExporter()))
        self._logger = self._provider.get_logger("codeintel", schema_url=names.SCHEMA_URL)
        self._steps = logging.getLogger("codeintel.steps")
        self._level_before = self._steps.level
        self._steps.setLevel(logging.DEBUG)
        logging.getLogger("codeintel").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record on: its text redacted, of its extras only those on the list."""
        try:
            self._logger.emit(_translated(record))
        except Exception:  # who logs a line must not fail because it could not be exported; counted, never silent
            metrics.TELEMETRY_ERRORS.inc()

    def close(self) -> None:
        """Detach, send what is buffered, stop."""
        logging.getLogger("codeintel").removeHandler(self)
        self._steps.setLevel(self._level_before)
        self._provider.shutdown()
        super().close()


def _translated(record: logging.LogRecord) -> LogRecord:
    run, here = current_run(), position.current()
    attributes: dict[str, str | float] = {
        f"{names.PREFIX}{key}": value for key in _LOGGED if (value := getattr(record, key, None)) not in (None, "")
    }
    attributes.setdefault(names.RUN_ID, run.run_id if run else "")
    if record.exc_info and record.exc_info[0] is not None:
        attributes["exception.type"] = record.exc_info[0].__name__
        attributes["exception.message"] = redacted(str(record.exc_info[1]))
    is_step = record.name == "codeintel.steps"
    severity = next((to for level, to in _SEVERITIES if record.levelno >= level), SeverityNumber.DEBUG)
    return LogRecord(
        timestamp=int(record.created * 1e9),
        context=position.context_of(here) if here is not None else get_current(),
        severity_text=severity.name,
        severity_number=severity,
        body=redacted(record.getMessage()),
        attributes=attributes,
        event_name="codeintel.step" if is_step else getattr(record, "event", None),
    )
