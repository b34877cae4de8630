"""What may leave the process in spans, logs and runpacks: no secrets, no absolute paths, no control characters."""

from __future__ import annotations

import re

from codeintel_core.secrets import redact

MAX_CHARS = 500
_SECRETS = (
    re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"),
    re.compile(r"\b(?:sk|pk|rk|ci|ghp|gho|ghs|glpat|xox[abprs])[-_][\w-]{6,}"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S),
    re.compile(r"(?i)(?<![\w-])((?:api[_-]?key|token|passw(?:or)?d|secret)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{4,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}\b"),
)
_PATH = re.compile(r"(?<![\w/:.<])/(?:[^\s/:;,'\"()]+/)+([^\s/:;,'\"()]*)")


def redacted(text: str, limit: int = MAX_CHARS) -> str:
    """`text` on one line of at most `limit` characters, without secrets and absolute paths."""
    return one_line(without_secrets(_PATH.sub(r"…/\1", text)), limit)


def without_secrets(text: str) -> str:
    """`text` with what looks like a key, token, password or private key replaced by `***`."""
    for secret in _SECRETS:
        text = secret.sub(
            lambda found: (found[1] if found.re.groups and found[1][-1:] in "=:\"' " else "") + "***", text
        )
    return redact(text)[0]


def one_line(text: str, limit: int = MAX_CHARS) -> str:
    """`text` without line breaks and control characters, cut at `limit`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
