"""The web page: static files of the package, served from memory under a policy that allows nothing but themselves."""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

FOLDER = "/web/"
"""Every asset lies under this path; like `/` itself they hold no data and need no key."""
DASHBOARD = "/dashboard"

_POLICY = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'",
    "connect-src": "'self'", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'", "trusted-types": "'none'",
}  # fmt: skip
_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",  # asked for again each time, answered 304 while the ETag holds
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str


def routes() -> list[BaseRoute]:
    """The pages and the assets below `FOLDER`; all take HEAD too, and answer 304 to a matching If-None-Match."""
    files = {path.name: _read(path.name) for path in _static().iterdir() if path.is_file()}

    async def page(request: Request) -> Response:
        return _respond(request, files["index.html"])

    async def dashboard(request: Request) -> Response:
        return _respond(request, files["dashboard.html"])

    async def asset(request: Request) -> Response:
        file = files.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        return _respond(request, file)

    addresses = {"/": page, DASHBOARD: dashboard, FOLDER + "{name}": asset}
    return [Route(address, answer, include_in_schema=False) for address, answer in addresses.items()]


def _static() -> resources.abc.Traversable:
    return resources.files(__package__) / "static"


def _read(name: str) -> _File:
    content = (_static() / name).read_bytes()
    suffix = name[name.rfind(".") :]
    media_type = _TYPES.get(suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


def _respond(request: Request, file: _File) -> Response:
    headers = {**_HEADERS, "ETag": file.etag}
    known = request.headers.get("If-None-Match", "")
    if file.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)
