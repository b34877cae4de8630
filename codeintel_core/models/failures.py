"""Errors of model endpoints: four shapes of body become one line that names role and endpoint and leaks no key."""

from __future__ import annotations

import re
from typing import Any

import orjson

from codeintel_core.errors import ModelUnavailable
from codeintel_core.secrets import without_secrets

MAX_MESSAGE_CHARS = 300
_TAG = re.compile(r"<[^>]{0,200}>")


class EndpointFailed(ModelUnavailable):
    """A model endpoint did not give a usable answer.

    Attributes:
        role: chat, rerank or embed.
        status: HTTP status, 0 when there was no response.
        param: the parameter that the endpoint names, such as `input_tokens`, '' otherwise.
    """

    def __init__(self, message: str, *, role: str, status: int = 0, param: str = "") -> None:
        super().__init__(message)
        self.role, self.status, self.param = role, status, param


def of_response(where: str, role: str, status: int, body: bytes, key: str) -> EndpointFailed:
    """The error of a response with an error status.

    Args:
        where: role and endpoint, as it starts the message.
        role: chat, rerank or embed.
        status: HTTP status.
        body: the (capped) body: `{"error": {…}}`, `{"error": "…"}`, `{"detail": …}`, or a proxy's page.
        key: the key that was sent; it never appears in the message.
    """
    if 300 <= status < 400:
        return EndpointFailed(f"{where} answered {status}: redirects are refused", role=role, status=status)
    said, param = _said(body)
    text = redacted(said, key)
    return EndpointFailed(
        f"{where} answered {status}" + (f": {text}" if text else ""), role=role, status=status, param=param
    )


def message(error: Any) -> str:
    """What an error object says, whatever its shape; not redacted."""
    if isinstance(error, dict):
        return str(error.get("message") or error)
    if isinstance(error, list):  # FastAPI's validation errors
        return "; ".join(str(one.get("msg", one)) if isinstance(one, dict) else str(one) for one in error[:3])
    return str(error)


def redacted(text: str, key: str) -> str:
    """`text` on one line, capped, without the key and without what looks like one."""
    if key:
        text = text.replace(key, "…")
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:10_000]).split())
    line = without_secrets(line)
    return line if len(line) <= MAX_MESSAGE_CHARS else line[: MAX_MESSAGE_CHARS - 1] + "…"


def _said(body: bytes) -> tuple[str, str]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _TAG.sub(" ", body.decode("utf-8", "replace")), ""
    if not isinstance(found, dict):
        return str(found), ""
    error = found.get("error", found.get("detail", found.get("message", "")))
    param = error.get("param") if isinstance(error, dict) else ""
    return message(error), str(param or "")
