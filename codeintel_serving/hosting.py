"""Running the server: over HTTP on a loopback address, or MCP over stdio."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import typer

from codeintel_serving.access import listen
from codeintel_serving.services import Services


def serve(services: Services, host: str, port: int) -> None:
    """Serve HTTP until interrupted; raises `InvalidRequest` when it may not or cannot listen there."""
    with listen(host, port) as listener:
        import uvicorn

        from codeintel_serving.api.app import create_app

        services.start()
        gc.freeze()  # what is loaded now stays: full collections would look at all of it, for 30 ms, within requests
        config = uvicorn.Config(create_app(services), log_config=None, access_log=False, server_header=False)
        shown = f"[{host}]" if ":" in host else host
        typer.echo(f"serving on http://{shown}:{port} (MCP at /mcp, metrics at /metrics); Ctrl-C stops", err=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again after its shutdown
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


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
