"""The HTTP server span under the stable conventions, and the metrics of the same names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry.trace import StatusCode
from starlette.types import Scope

from codeintel_core.telemetry import Run, metrics, providers
from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry.spans import Attribute, Value

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"})
_MAX_PATH = 500
_IN_FLIGHT = metrics.REQUESTS_IN_FLIGHT.labels("http")


def of_request(scope: Scope) -> dict[str, Value]:
    """Attributes that are known when the request starts; the query string stays here."""
    host, port = scope.get("server") or ("", None)
    return {
        names.HTTP_METHOD: _method(scope),
        names.URL_PATH: scope["path"][:_MAX_PATH],
        names.URL_SCHEME: scope.get("scheme", "http"),
        names.SERVER_ADDRESS: host,
        names.SERVER_PORT: port,
    }


@contextmanager
def answered(run: Run, scope: Scope, status: Callable[[], int]) -> Iterator[None]:
    """Name the span after its route and note the status (`status()` is 0 when nothing was answered)."""
    _IN_FLIGHT.inc()
    try:
        yield
    finally:
        _IN_FLIGHT.dec()
        route = getattr(scope.get("route"), "path", "")  # a template: few values, nothing of the caller
        found: dict[str, Attribute] = {names.HTTP_METHOD: _method(scope)}
        if route:
            found[names.HTTP_ROUTE] = route
        if code := status():
            found[names.HTTP_STATUS] = code
        if code >= 500:
            found[names.ERROR_TYPE] = str(code)
        if run.span.is_recording():
            run.span.update_name(f"{found[names.HTTP_METHOD]} {route}".strip())
            run.span.set_attributes(found)
            if code >= 500:
                run.span.set_status(StatusCode.ERROR)
        providers.measure_request("http", run.elapsed_ms / 1000, found)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "_OTHER"
