"""Who asks over HTTP: the key of a request becomes a `Principal`, once, before anything else looks at the request."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from codeintel_core.errors import Unauthorized
from codeintel_core.settings import Settings
from codeintel_serving.access.keys import KeyRing
from codeintel_serving.access.principal import ANONYMOUS, LOCAL, Principal
from codeintel_serving.access.rates import Rates
from codeintel_serving.api.headers import header
from codeintel_serving.web import pages

PUBLIC = frozenset({"/", pages.DASHBOARD, "/livez", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
"""Paths that answer without a key, as the files of the page do: health without reasons, and pages that hold no data."""
_NEVER_LIMITED = frozenset({"/livez", "/readyz", "/metrics"})
_HOW = "show a key as `Authorization: Bearer …` or `X-API-Key: …`; `codeintel keys create` makes one"


class Authentication:
    """ASGI middleware: sets `scope["state"]["principal"]`, and counts the request against its rate limit.

    Without keys everybody is `LOCAL`: the server then listens on this machine only. Requests without a valid key are
    counted per address, which also bounds guessing.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, settings: Settings) -> None:
        self._app, self._keys, self._settings = app, keys, settings
        self._rates = Rates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection; raises `Unauthorized` or `RateLimited`, which the outermost layer answers."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["principal"] = self._principal(scope)
        await self._app(scope, receive, send)

    def _principal(self, scope: Scope) -> Principal:
        if not self._keys.is_required:
            return LOCAL
        is_limited = scope["path"] not in _NEVER_LIMITED
        address = f"address {(scope.get('client') or ['unknown'])[0]}"
        given = _given(scope)
        try:
            if not given:
                raise Unauthorized(_HOW)
            principal = self._keys.principal(given)
        except Unauthorized:
            if is_limited or given:
                self._count(address, self._settings.rate_limit)
            if _is_public(scope["path"]) and not given:
                return ANONYMOUS
            raise
        if is_limited:
            self._count(f"key {principal.id}", principal.rate_limit or self._settings.rate_limit)
        return principal

    def _count(self, who: str, rate: str) -> None:
        if rate != "none":
            self._rates.count(who, rate)


def _is_public(path: str) -> bool:
    return path in PUBLIC or path.startswith(pages.FOLDER)


def _given(scope: Scope) -> str:
    """The key a request shows, '' for none."""
    authorization = header(scope, b"authorization")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return header(scope, b"x-api-key").strip() or authorization.strip()
