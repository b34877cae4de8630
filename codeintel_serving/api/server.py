"""uvicorn as CodeIntel runs it: bounded connections, and an end that says so first."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from types import FrameType

import uvicorn
from sse_starlette.sse import AppStatus

from codeintel_serving.api.accepting import Acceptor
from codeintel_serving.api.app import create_app
from codeintel_serving.api.protocol import IDLE_TIMEOUT_S, BoundedProtocol
from codeintel_serving.services import Services
from codeintel_serving.siblings import Connections, Siblings


class Server(uvicorn.Server):
    """Serves one `Services`.

    On SIGTERM readiness says `draining` (503) while requests still are answered, for `shutdown_notice_s`; then nothing
    new is accepted, and what is in flight may end within `shutdown_grace_s`. A second signal skips the notice.
    One of several workers takes the end of its stdin, a pipe from the parent, as that signal.
    """

    def __init__(self, services: Services, siblings: Siblings | None = None) -> None:
        AppStatus.enable_automatic_graceful_drain = (
            False  # it would cut streamed answers at once; uvicorn waits, then cuts
        )
        settings = services.settings
        super().__init__(
            uvicorn.Config(
                create_app(services, siblings),
                http=BoundedProtocol,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=IDLE_TIMEOUT_S,
                timeout_graceful_shutdown=settings.shutdown_grace_s,
            )
        )
        self._services, self._siblings = services, siblings
        self._acceptor: Acceptor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen."""
        self._loop = asyncio.get_running_loop()
        if self._siblings is None:
            await super().startup(sockets)
            return
        self._loop.add_reader(sys.stdin.fileno(), self._on_parent_gone)
        await super().startup([])
        (listener,) = sockets or []
        listener.listen(self.config.backlog)
        connections = self.server_state.connections
        self._acceptor = Acceptor(listener, self._protocol, Connections(self._siblings), lambda: len(connections))
        self.servers.append(self._acceptor)  # type: ignore[arg-type]

    def _protocol(self) -> BoundedProtocol:
        return BoundedProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; tell how many connections are left."""
        if self._acceptor is not None:
            self._acceptor.tell()
        return await super().on_tick(counter)

    def _on_parent_gone(self) -> None:
        assert self._loop is not None
        self._loop.remove_reader(sys.stdin.fileno())
        self.handle_exit(signal.SIGTERM, None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        notice_s = self._services.settings.shutdown_notice_s
        is_first = not self._services.is_draining
        self._services.drain()
        if self._loop is None or sig != signal.SIGTERM or not is_first or not notice_s:
            super().handle_exit(sig, frame)
            return
        end = super().handle_exit
        loop = self._loop
        loop.call_soon_threadsafe(lambda: loop.call_later(notice_s, end, sig, frame))
