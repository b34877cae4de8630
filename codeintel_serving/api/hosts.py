"""Which names the server answers to, and which web pages may call it: what keeps a browser from being lent to others.

A page of another site can make a browser send requests here (Origin), or point its own name at this address (DNS
rebinding, Host). Neither needs a key when the server has none.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from codeintel_serving.api.headers import header

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Hosts:
    """ASGI middleware: 421 for a foreign Host, 403 for a foreign Origin.

    Accepted hosts are the loopback names, the address that the connection came to (no name can be rebound to be an
    address) and those of the setting. Accepted origins are the server itself, under any of these, and those of the
    setting.
    """

    def __init__(self, app: ASGIApp, hosts: str, origins: str) -> None:
        """`hosts`, `origins`: settings `allowed_hosts` and `allowed_origins`, separated by commas."""
        self._app = app
        self._hosts = _LOOPBACK | {host.lower() for host in _listed(hosts)}
        self._origins = {origin.lower().rstrip("/") for origin in _listed(origins)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] in ("http", "websocket"):
            given = header(scope, b"host")
            host = _name(given)
            if host not in self._hosts and not _is_address_of(host, scope):
                raise HTTPException(421, "this server does not answer to that Host; see CODEINTEL_ALLOWED_HOSTS")
            for name, value in scope["headers"]:
                if name == b"origin" and not self._is_own(value.decode("latin-1"), given):
                    raise HTTPException(403, "pages of that Origin may not call; see CODEINTEL_ALLOWED_ORIGINS")
        await self._app(scope, receive, send)

    def _is_own(self, origin: str, host: str) -> bool:
        parts = urlsplit(origin.lower())
        if origin.lower() in self._origins or parts.netloc == host.lower():
            return True
        return _name(parts.netloc) in _LOOPBACK and _name(host) in _LOOPBACK


def _name(netloc: str) -> str:
    """A host without its port and brackets, in lower case."""
    netloc = netloc.strip().lower()
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0]
    return netloc.rpartition(":")[0] if netloc.count(":") == 1 else netloc


def _is_address_of(host: str, scope: Scope) -> bool:
    """Whether the host is literally the address that the connection came to."""
    try:
        return ipaddress.ip_address(host) == ipaddress.ip_address((scope.get("server") or [""])[0])
    except ValueError:
        return False


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
