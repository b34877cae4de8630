"""Logs: what a handler prints is redacted after it was formatted, with its arguments and traceback."""

from __future__ import annotations

import logging

from codeintel_core.secrets.redaction import redact


class RedactingFormatter(logging.Formatter):
    """A formatter whose whole output is redacted."""

    def format(self, record: logging.LogRecord) -> str:
        """The formatted record, secrets masked."""
        return redact(super().format(record))[0]
