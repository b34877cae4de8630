"""Running the server: over HTTP on a loopback address, or MCP over stdio."""

from __future__ import annotations

import gc
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from codeintel_core.errors import InvalidRequest
from codeintel_serving.access.listening import listen
from codeintel_serving.services import Services

_LEAST_DESCRIPTORS = 256  # the JVM, one generation per repository, journals, and a client each


def claim_descriptors() -> None:
    """Allow this process as many open files as the system lets it have, before the first is opened.

    Raises:
        InvalidRequest: they are too few: it would start, then accept no connection.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:  # the kernel's own bound is lower, and differs
        hard = max(soft, 65_536)
    with suppress(ValueError, OSError):  # a sandbox may forbid it; what there is may still do
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed < _LEAST_DESCRIPTORS:
        raise InvalidRequest(
            f"only {allowed} open files are allowed, a server needs at least {_LEAST_DESCRIPTORS}; raise the limit "
            "with `ulimit -n 1024`, LimitNOFILE= of systemd or --ulimit of the container"
        )


def serve(services: Services, host: str, port: int) -> None:
    """Serve HTTP until interrupted; raises `InvalidRequest` when it may not or cannot listen there."""
    with listen(host, port, has_keys=services.keys.is_required) as listener:
        from codeintel_serving.api.server import Server

        services.start()
        gc.freeze()  # what is loaded now stays: full collections need not look at all of it within requests
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"serving on http://{shown}:{port} (MCP at /mcp, metrics at /metrics); Ctrl-C stops", err=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again after its shutdown
        with suppress(KeyboardInterrupt):
            Server(services).run(sockets=[listener])


def serve_stdio(services: Services) -> None:
    """Serve MCP over stdio until the client closes it."""
    from codeintel_serving.mcp.server import create_mcp

    services.start()
    with suppress(KeyboardInterrupt):
        create_mcp(services).run(transport="stdio", show_banner=False)


@contextmanager
def protocol_only_stdout() -> Iterator[None]:
    """Keep file descriptor 1 for the protocol: what native code (the JVM) prints there goes to stderr."""
    real = os.dup(1)
    os.dup2(2, 1)
    python_stdout = sys.stdout
    sys.stdout = io.TextIOWrapper(os.fdopen(real, "wb"), encoding="utf-8", line_buffering=True)
    try:
        yield
    finally:
        sys.stdout = python_stdout
