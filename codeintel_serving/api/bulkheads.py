"""Bulkheads: each kind of work has its own slots, and what finds none is refused at once rather than queued.

A queue would only turn overload into latency; a client that is told to come back in a second can go elsewhere. Health
and metrics have no slots: they must answer most of all when nothing else does.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from codeintel_core.errors import Overloaded
from codeintel_core.settings import Settings
from codeintel_core.telemetry import metrics

ANSWER, SEARCH, CHEAP = "answer", "search", "cheap"
_KINDS = {
    "answer": ANSWER,
    **dict.fromkeys(("search", "grep", "symbols", "overview", "history", "blame", "diff"), SEARCH),
}
_NEVER_SHED = frozenset({"/livez", "/readyz", "/metrics"})
_RETRY_AFTER_S = 1


class Bulkheads:
    """ASGI middleware, the innermost: holds a slot of the request's kind until its response is complete."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._slots = {
            ANSWER: settings.concurrent_answers,
            SEARCH: settings.concurrent_searches,
            CHEAP: settings.concurrent_others,
        }
        self._taken = dict.fromkeys(self._slots, 0)
        self._in_flight = {kind: metrics.IN_FLIGHT.labels(kind) for kind in self._slots}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; raises `Overloaded` when no slot is free."""
        if scope["type"] != "http" or scope["path"] in _NEVER_SHED:
            await self._app(scope, receive, send)
            return
        kind = _KINDS.get(scope["state"]["operation"], CHEAP)
        if self._taken[kind] >= self._slots[kind]:
            metrics.SHED.labels(kind).inc()
            raise Overloaded(f"all {self._slots[kind]} slots for work of the kind '{kind}' are taken", _RETRY_AFTER_S)
        self._taken[kind] += 1
        self._in_flight[kind].inc()
        try:
            await self._app(scope, receive, send)
        finally:
            self._taken[kind] -= 1
            self._in_flight[kind].dec()
