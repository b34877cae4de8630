"""Accepting the connections of a server of several workers: the one that holds the fewest takes the next.

All workers wait on one socket. Of those that are idle the kernel lets nearly always the same one have it (62 of 64
connections that came one by one), and a connection that is kept alive stays where it is: two workers do what one does.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from codeintel_serving.api.protocol import BoundedProtocol
from codeintel_serving.siblings import Connections

_log = logging.getLogger("codeintel.serving")
_LEFT_TO_OTHERS_S = 0.005
"""How long a worker that holds more leaves a connection to the others."""
_MOST_AT_ONCE = 64
"""When they take none, they are busy or stopped: it takes one, after the next such wait two, then four, up to these."""
_PAUSE_S = 1.0  # after what cannot be helped at once, such as too many open files


class Acceptor:
    """Accepts for one worker, in its event loop, until it is closed; to uvicorn one of its servers."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], BoundedProtocol],
        connections: Connections,
        held: Callable[[], int],
    ) -> None:
        """`protocol` makes one for each connection, `held` counts those that have been made and not lost."""
        self._listener, self._protocol, self._connections, self._held = listener, protocol, connections, held
        self._loop = asyncio.get_running_loop()
        self._opening = set[asyncio.Task[None]]()
        self._waiting: asyncio.TimerHandle | None = None
        self._at_once = 1
        self._is_full = self._is_closed = False
        listener.setblocking(False)
        self.tell()
        self._listen()

    def tell(self) -> None:
        """Tell the others how many connections there are."""
        if not (self._is_full or self._is_closed):
            self._connections.tell(self._held() + len(self._opening))

    def close(self) -> None:
        """Accept no more."""
        if self._is_closed:
            return
        self._is_closed = True
        self._connections.leave()
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            self._loop.remove_reader(self._listener.fileno())

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""

    def _listen(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._on_connection)

    def _on_connection(self) -> None:
        self.tell()
        if self._connections.are_fewest():
            self._accept()
        else:
            others = self._connections.of_others()
            self._wait(_LEFT_TO_OTHERS_S, lambda: self._after_leaving(others))

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        def waited() -> None:
            self._waiting = None
            self._listen()
            then()

        self._loop.remove_reader(self._listener.fileno())
        self._waiting = self._loop.call_later(seconds, waited)

    def _after_leaving(self, others: list[int]) -> None:
        if self._connections.of_others() != others:
            self._at_once = 1
            return
        for _ in range(self._at_once):
            if not self._accept():
                return
        self._at_once = min(2 * self._at_once, _MOST_AT_ONCE)

    def _accept(self) -> bool:
        """Whether there was one."""
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another one has it, or it is gone
            return False
        except OSError as error:
            _log.error("no connection can be accepted: %s", error.strerror)
            self._is_full = True
            self._connections.leave()
            self._wait(_PAUSE_S, self._resume)
            return False
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # uvloop does, asyncio does not
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)
        self.tell()
        return True

    def _resume(self) -> None:
        self._is_full = False
        self._on_connection()

    async def _open(self, connection: socket.socket) -> None:
        try:
            _, protocol = await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # the client has left
            connection.close()
            return
        if self._is_closed:  # uvicorn has told those that it knew
            protocol.shutdown()
