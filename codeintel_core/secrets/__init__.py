"""Secrets: which files are never read, and how values that look like credentials are masked before anything is written.

`redact` keeps length and lines, so spans, line numbers and citations still hold. A secret may span chunks, so files are
redacted whole (`redact_bytes`), never piece by piece. What the program says itself, of an endpoint's answer for
instance, goes through `without_secrets`, whose rules are wider; addresses of repositories through `without_users`.
"""

from codeintel_core.secrets.files import DenyList, is_denied
from codeintel_core.secrets.logs import RedactingFormatter
from codeintel_core.secrets.messages import without_secrets, without_users
from codeintel_core.secrets.redaction import (
    SECRETS_VERSION,
    redact,
    redact_bytes,
    redact_values,
    redacted_json,
    redacted_value,
)

__all__ = [
    "SECRETS_VERSION", "DenyList", "RedactingFormatter", "is_denied", "redact", "redact_bytes", "redact_values",
    "redacted_json", "redacted_value", "without_secrets", "without_users",
]  # fmt: skip
