"""What a request may weigh: headers, body, time to send it, nesting; and JSON that says one thing only.

The body is read here, whole, before anything works on the request: a slow sender holds no slot of work, and what is
behind this layer sees a body that is complete and within its limits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel_core.errors import Overloaded
from codeintel_serving.api.bodies import KnownBodies
from codeintel_serving.api.headers import header

MAX_BODY_BYTES = 1_000_000
MAX_HEAD_BYTES = 32_768
MAX_DEPTH = 32
_MCP = "/mcp"
_HEALTH = frozenset({"/livez", "/readyz", "/metrics"})


class _Gone(Exception):
    """The client left before its body was complete."""


class Bounds:
    """ASGI middleware: refuses what is too large, too slow, too deep or ambiguous; `HTTPException` says which.

    `scope["state"]["operation"]` becomes the name of what is asked: an MCP tool, or the last part of the path;
    `scope["state"]["body"]` the whole body.
    """

    def __init__(self, app: ASGIApp, body_timeout_s: float, most_open: int, known: KnownBodies) -> None:
        """`most_open`: requests that are read or worked on at the same time. Bodies that are `known` are JSON."""
        self._app, self._timeout_s, self._most_open, self._known = app, body_timeout_s, most_open, known
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._open >= self._most_open and scope["path"] not in _HEALTH:
            raise Overloaded(f"the server holds {self._most_open} requests, its limit")
        self._open += 1
        try:
            _check_head(scope)
            try:
                async with asyncio.timeout(self._timeout_s):
                    body = await _body(receive)
            except TimeoutError:
                raise HTTPException(408, f"the body did not arrive within {self._timeout_s:g} s", _CLOSE) from None
            except _Gone:
                return
            operation = _operation(scope["path"], self._json(scope, body))
            scope.setdefault("state", {}).update(operation=operation, body=body)
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._open -= 1

    def _json(self, scope: Scope, body: bytes) -> Any:
        """The parsed body, where it says what is asked; None when it is no JSON, or need not be looked at again."""
        is_known = body in self._known and scope["path"] != _MCP
        return _checked_json(body) if not is_known and "json" in header(scope, b"content-type").lower() else None


_CLOSE = {"Connection": "close"}


def _check_head(scope: Scope) -> None:
    if sum([len(name) + len(value) + 4 for name, value in scope["headers"]]) > MAX_HEAD_BYTES:
        raise HTTPException(431, f"the headers are larger than {MAX_HEAD_BYTES} bytes", _CLOSE)
    if header(scope, b"content-encoding") not in ("", "identity"):
        raise HTTPException(415, "send the body without Content-Encoding")
    length = header(scope, b"content-length")
    if length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
        raise HTTPException(413)


async def _body(receive: Receive) -> bytes:
    """The whole body, also of unknown length."""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        found += message.get("body", b"")
        if len(found) > MAX_BODY_BYTES:
            raise HTTPException(413)
        if not message.get("more_body", False):
            return bytes(found)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body once, then what the client does next."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _checked_json(body: bytes) -> Any:
    """The parsed body, None when it is no JSON (which the route says); raises `HTTPException` 400."""
    if not body:
        return None
    try:
        found = json.loads(body, object_pairs_hook=_once)
    except RecursionError:
        raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError:
        return None
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        level = [item for value in level for item in _items(value)]
        if not level:
            return found
    raise HTTPException(400, f"the body is nested deeper than {MAX_DEPTH} levels")


def _items(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise HTTPException(400, f"the body gives {json.dumps(twice[:60])} twice")
    return found


def _operation(path: str, call: Any) -> str:
    """Name of the tool that a JSON-RPC request calls, else the last part of the path."""
    if path == _MCP:
        params = call.get("params") if isinstance(call, dict) and call.get("method") == "tools/call" else None
        return str(params.get("name", "")) if isinstance(params, dict) else ""
    return path.rstrip("/").rpartition("/")[2]
