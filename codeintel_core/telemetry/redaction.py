"""What may leave the process in spans, logs and runpacks: no secrets, no absolute paths, no control characters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from codeintel_core.secrets import redact, redact_values, without_secrets

MAX_CHARS = 500
_PATH = re.compile(r"(?<![\w/:.<])/(?:[^\s/:;,'\"()]+/)+([^\s/:;,'\"()]*)")


class _Cleaner:
    """Applies a rule to texts; short ones that it left as they are it knows again.

    Reasons and attributes of steps are mostly the same few words, and looking at them costs more than their step.
    Nothing that held a secret is kept.
    """

    _MOST, _MOST_CHARS = 4_096, 100

    def __init__(self, rule: Callable[[str], str]) -> None:
        self._rule = rule
        self._clean: set[str] = set()

    def __call__(self, text: str) -> str:
        if text in self._clean:
            return text
        found = self._rule(text)
        if found == text and len(text) <= self._MOST_CHARS:
            if len(self._clean) >= self._MOST:
                self._clean.clear()
            self._clean.add(text)
        return found


_PLAIN = frozenset({int, float, bool, type(None)})


def reason(text: str) -> str:
    """`redacted`, for the reasons of steps."""
    return _reasons(text) if text else ""


def masked(text: str) -> str:
    """`text` with secrets masked in place."""
    return _masked(text) if text else ""


def attributes(found: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of a step with secrets masked in place."""
    return {key: value if value.__class__ in _PLAIN else _attribute(value) for key, value in found.items()}


def _attribute(value: Any) -> Any:
    return masked(value) if isinstance(value, str) else redact_values(value)


def redacted(text: str, limit: int = MAX_CHARS) -> str:
    """`text` on one line of at most `limit` characters, without secrets and absolute paths."""
    return one_line(without_secrets(_PATH.sub(r"…/\1", text)), limit)


def one_line(text: str, limit: int = MAX_CHARS) -> str:
    """`text` without line breaks and control characters, cut at `limit`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


_reasons = _Cleaner(redacted)
_masked = _Cleaner(lambda text: redact(text)[0])
