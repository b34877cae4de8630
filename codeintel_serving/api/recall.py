"""Searches that were asked before, answered from memory: without the framework behind this layer, and in the loop."""

from __future__ import annotations

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from codeintel_serving.api.bodies import KnownBodies
from codeintel_serving.api.correlation import caller_in
from codeintel_serving.services import Services

_JSON = b"application/json"


class Recall:
    """ASGI middleware, between `Bounds` and `Bulkheads`: what `Services.recall` has is answered here.

    The layers around it have judged the request as any other: its host, key, rate and size. It takes no slot, since it
    does no work that would have to wait for one: a server whose slots are taken still answers what it knows.
    """

    def __init__(self, app: ASGIApp, services: Services, route: BaseRoute, known: KnownBodies) -> None:
        """`route` names the request in spans and metrics, as if it had answered."""
        self._app, self._services, self._route, self._known = app, services, route, known
        self._path = getattr(route, "path", "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        found = await self._recalled(scope) if scope["type"] == "http" and scope["path"] == self._path else None
        if found is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-length", str(len(found)).encode()), (b"content-type", _JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": found})

    async def _recalled(self, scope: Scope) -> bytes | None:
        asked = self._known.get(scope["state"]["body"])
        if asked is None or scope["method"] != "POST" or (b"content-type", _JSON) not in scope["headers"]:
            return None
        caller = caller_in(scope)
        opened = await self._services.scopes.opened(asked, caller)
        found = self._services.recall(opened, caller)
        if found is None:
            return None
        scope["route"] = self._route
        return found.json()
