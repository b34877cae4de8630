"""uvicorn's HTTP protocol, bounded before there is a request: size and time of the head, and errors as problems."""

from __future__ import annotations

import asyncio
import select
import uuid
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from codeintel_serving.api.bounds import MAX_HEAD_BYTES
from codeintel_serving.models import Problem

HEAD_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 75
"""Of a connection on which nothing is asked: longer than clients and proxies keep theirs (up to 60 s), so that it is
they who close it. Who closes while the other one sends loses a request, and only a client can know of it beforehand."""
_READ_AHEAD_BYTES = 262_144  # a first packet may hold the head and the start of the body


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose request line and headers are endless or do not come.

    A connection that was not used yet is idle as one that was: it is closed without a word, for a 408 would be read as
    the answer to the request that comes just then.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_bytes = 0
        self._is_in_head = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._wait_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser, and count what belongs to a head that is not complete."""
        if self.timeout_keep_alive_task is not None:
            self._start_clock()  # also for what is no head yet, such as empty lines
        super().data_received(data)
        if self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES + _READ_AHEAD_BYTES:
                self._refuse(431, "headers-too-large", f"the headers are larger than {MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self._start_clock()

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._is_in_head = False
        self._stop_clock()
        super().on_headers_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has arrived: timers come before what there is to read."""
        if self.transport.is_closing():
            return
        waiting = select.poll()
        waiting.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        if waiting.poll(0):
            self._wait_idle()
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (uvicorn's words say less)
        """Refuse what is not HTTP."""
        self._refuse(400, "malformed-request", "this is not an HTTP/1.1 request")

    def _wait_idle(self) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _start_clock(self) -> None:
        self._stop_clock()
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _stop_clock(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._refuse(408, "request-timeout", f"the headers did not arrive within {HEAD_TIMEOUT_S:g} s")

    def _refuse(self, status: int, code: str, detail: str) -> None:
        if self.transport.is_closing():
            return
        title = HTTPStatus(status).phrase
        run_id = str(uuid.uuid4())
        problem = Problem(type=f"/problems/{code}", title=title, status=status, detail=detail, code=code, run_id=run_id,
                          trace_id="", stage="", limits=[], errors=[])  # fmt: skip
        body = problem.model_dump_json().encode()
        head = f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}x-run-id: {run_id}\r\nconnection: close\r\n\r\n".encode() + body)
        self.transport.close()
