"""Running the server: over HTTP on a loopback address, or MCP over stdio."""

from __future__ import annotations

import atexit
import gc
import io
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from codeintel_core.errors import InvalidRequest
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_serving import workers
from codeintel_serving.access.keys import KeyRing
from codeintel_serving.access.listening import listen
from codeintel_serving.shared_pages import mapped
from codeintel_serving.siblings import Siblings

if TYPE_CHECKING:
    from codeintel_serving.services import Services

_SWITCH_S = 0.0005
"""How long a thread may keep the interpreter from one that waits. At Python's 5 ms a short stage waits for a long one
of another thread: generated answers took 1.05 to 1.28 times as long, and a server with full slots gave 0.8 of them."""
_COLLECT_AFTER = 5_000
"""New objects after which the youngest are searched for cycles. A request makes some thousand, of which none is part of
one: at Python's 700 the search was 2 % of a server's CPU."""
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


def suit_requests() -> None:
    """Set up the interpreter of a warm process for many short requests, each on several threads."""
    # What is loaded now stays: full collections need not look at all of it within requests. At its end the interpreter
    # does, else native libraries report what it keeps as leaks, in sixty lines.
    gc.freeze()
    atexit.register(gc.unfreeze)
    gc.set_threshold(_COLLECT_AFTER)
    sys.setswitchinterval(_SWITCH_S)


def serve(settings: Settings, host: str, port: int, count: int = 1) -> int:
    """Serve HTTP from `count` processes until interrupted; returns the exit code.

    Raises:
        InvalidRequest: it may not or cannot listen there, has too few open files, or lacks what several workers need.
    """
    claim_descriptors()
    workers.check(settings, count)
    shown = f"[{host}]" if ":" in host else host
    with listen(host, port, has_keys=KeyRing(Home(settings.home).keys).is_required) as listener:
        said = f"serving on http://{shown}:{port} (MCP at /mcp, metrics at /metrics); Ctrl-C stops"
        if count > 1:
            typer.echo(f"starting {count} workers, {said}", err=True)
            return workers.run(count, listener, settings)
        from codeintel_serving.services import Services

        with Services(settings) as services:
            _run(services, listener, lambda: typer.echo(said, err=True))
    return 0


def work(services: Services, listener: int, pages: int, folder: Path, number: int, count: int) -> None:
    """Serve as one of several workers, on the listening socket and the memory that were inherited as descriptors."""
    if (shared := mapped(pages)) is not None:
        services.share_pages(shared)
    with socket.socket(fileno=listener) as inherited:
        _run(services, inherited, lambda: None, Siblings(folder, number, count))


def _run(
    services: Services, listener: socket.socket, on_warm: Callable[[], None], siblings: Siblings | None = None
) -> None:
    """Warm up and serve until a signal ends it."""
    from codeintel_serving.api.server import Server

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # uvicorn raises it again after its shutdown
    with suppress(KeyboardInterrupt):
        services.start()
        suit_requests()
        on_warm()
        Server(services, siblings).run(sockets=[listener])


def serve_stdio(services: Services) -> None:
    """Serve MCP over stdio until the client closes it."""
    from codeintel_serving.mcp.server import create_mcp

    services.start()
    suit_requests()
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
