"""Connections to PostgreSQL: a few that stay open, and calls that end at their deadline whatever the server does.

A call runs in a thread of its own pool. Whoever waits for it leaves at the deadline, or when nobody waits any more; the
call is cancelled behind its back, and if the server does not take the cancellation, its socket is shut down, which ends
the wait of the thread.
"""

from __future__ import annotations

import contextvars
import importlib.util
import logging
import os
import socket
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait as wait_for
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded, VectorEngineUnavailable
from codeintel_core.models.breaker import Breaker, State
from codeintel_core.secrets import without_secrets
from codeintel_core.stopping import stoppable

if TYPE_CHECKING:
    from psycopg import Connection

_log = logging.getLogger("codeintel.vector_engine")
_LATE = "the vector engine does not answer in time"
_ENDING = "57P"  # class of the SQLSTATEs of a server that shuts down, crashed or is starting
_CANCEL_S = 0.5
_CONNECT_S = 5
_LOST_MS = 30_000  # without an acknowledgement a connection is lost
_LOOK_S, _MOST_MISSED = 20.0, 3  # a server that takes no other connection so often in a row hangs
_CLOSED = "the vector engine is closed"
_FAILURES, _COOL_DOWN_S = 3, 2.0
_T = TypeVar("_T")
Work = Callable[["Connection[Any]"], _T]


class Connections:
    """Connections to one database, behind a circuit breaker: after three failures it is left alone for two seconds."""

    def __init__(self, url: str, workers: int, breaker: Breaker | None = None, *, look_s: float = _LOOK_S) -> None:
        """`workers`: calls at a time, and connections that stay open; `look_s`: how often `run` looks at the server."""
        self._url, self._look_s = url, look_s
        self._breaker = breaker or Breaker(_FAILURES, _COOL_DOWN_S)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="vector-engine")
        self._cancels = ThreadPoolExecutor(1, thread_name_prefix="vector-engine-cancel")
        self._idle: list[Connection[Any]] = []
        self._running: set[_Call[Any]] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._why = ""

    @property
    def problem(self) -> str:
        """Why it is not asked at the moment, '' when it is."""
        return "" if self._breaker.state is State.CLOSED else self._why

    def ask(self, work: Work[_T], deadline: Deadline) -> _T:
        """What `work` returns of a connection, which is in no transaction.

        Raises:
            VectorEngineUnavailable: the server does not answer, or refuses; or lately did not.
            DeadlineExceeded: it was late, and was cancelled.
            asyncio.CancelledError: nobody waits for it any more.
        """
        deadline.check("the vector engine")
        if not self._breaker.allows():
            raise VectorEngineUnavailable(self._why)
        try:
            found = self._asked(work, deadline)
        except (VectorEngineUnavailable, DeadlineExceeded) as error:
            self._why = str(error)
            self._breaker.fail()
            detail = error.detail if isinstance(error, VectorEngineUnavailable) else ""
            _log.warning("%s%s", error, f": {detail}" if detail else "")
            raise
        except BaseException:
            self._breaker.abandon()
            raise
        self._breaker.succeed()
        return found

    def run(self, work: Work[_T]) -> _T:
        """`work` on a connection of its own, for as long as it takes, unless the server hangs: for commands and builds.

        Raises:
            VectorEngineUnavailable: the server does not answer, or refuses.
        """
        connection, is_over = self._connect(), threading.Event()
        watch = threading.Thread(
            target=self._watch, args=(connection, is_over), name="vector-engine-watch", daemon=True
        )  # fmt: skip
        watch.start()
        try:
            _translated(lambda it: it.execute("SET statement_timeout = 0"), connection)  # its user may have one
            return _translated(work, connection)
        except DeadlineExceeded:
            raise VectorEngineUnavailable("the vector engine refuses: somebody there cancelled it") from None
        finally:
            is_over.set()
            watch.join()  # its number may be another socket's as soon as this one is closed
            connection.close()

    def close(self) -> None:
        """Close what is open, and end what runs: a thread that waits for a server would outlive the process."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for call in running:
            call.cut()
        self._drop_idle()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._cancels.shutdown(wait=False)

    def _asked(self, work: Work[_T], deadline: Deadline) -> _T:
        call = _Call[_T]()
        with self._lock:
            if self._is_closed:
                raise VectorEngineUnavailable(_CLOSED)
            self._running.add(call)
            call.future = self._pool.submit(contextvars.copy_context().run, self._run, call, work)
        call.future.add_done_callback(lambda _: self._running.discard(call))
        with stoppable(lambda: self._cancel(call)):
            try:
                return call.future.result(deadline.remaining_s)
            except FutureTimeout:
                self._cancel(call)
                raise DeadlineExceeded(_LATE) from None
            except FutureCancelled:  # it had not begun
                raise VectorEngineUnavailable(_CLOSED) from None

    def _cancel(self, call: _Call[Any]) -> None:
        with suppress(RuntimeError):  # closed meanwhile, which ended it
            self._cancels.submit(call.cancel)

    def _run(self, call: _Call[_T], work: Work[_T]) -> _T:
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        try:
            return self._run_on(idle or self._connect(), call, work)
        except VectorEngineUnavailable as error:
            if idle is None or not error.is_lost or self._is_closed:
                raise
        self._drop_idle()  # of a server that was started again since
        return self._run_on(self._connect(), call, work)

    def _run_on(self, connection: Connection[Any], call: _Call[_T], work: Work[_T]) -> _T:
        try:
            call.begin(connection)
            return _translated(work, connection)
        finally:
            with suppress(Exception):  # of a server that is gone; then it is closed already
                connection.rollback()
            self._give_back(connection, is_cancelled=call.end())

    def _give_back(self, connection: Connection[Any], *, is_cancelled: bool) -> None:
        with self._lock:  # a cancellation that is under way would hit what comes next
            if not connection.closed and not self._is_closed and not is_cancelled:
                self._idle.append(connection)
                return
        connection.close()

    def _drop_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _watch(self, connection: Connection[Any], is_over: threading.Event) -> None:
        """End the wait of a connection whose server takes no other one."""
        import psycopg

        missed = 0
        while missed < _MOST_MISSED:
            if is_over.wait(self._look_s):
                return
            try:
                self._open().close()
                missed = 0
            except psycopg.errors.ConnectionTimeout:
                missed += 1
            except psycopg.Error:  # refused is an answer too, and a server that went ends its connections
                missed = 0
        if not is_over.is_set():
            _log.warning("%s: what it was writing is given up", _LATE)
            _shut(connection)

    def _connect(self) -> Connection[Any]:
        require_driver()
        import psycopg

        try:
            return self._open()
        except psycopg.Error as error:
            raise _unavailable(error, is_lost=True) from None

    def _open(self) -> Connection[Any]:
        import psycopg

        return psycopg.connect(
            self._url, autocommit=True, prepare_threshold=None, connect_timeout=_CONNECT_S,
            application_name="codeintel", client_encoding="utf8", keepalives_idle=30, tcp_user_timeout=_LOST_MS,
        )  # fmt: skip


def require_driver() -> None:
    """Raise `VectorEngineUnavailable` when the extra is not installed."""
    if importlib.util.find_spec("psycopg") is None:
        raise VectorEngineUnavailable("psycopg is not installed; run: pip install 'codeintel[pgvector]'")


class _Call(Generic[_T]):
    """A call that is running: it can be cancelled while it has its connection, and only then."""

    def __init__(self) -> None:
        self.future: Future[_T] | None = None
        self._connection: Connection[Any] | None = None
        self._is_cancelled = False
        self._lock = threading.Lock()

    def begin(self, connection: Connection[Any]) -> None:
        """Say on which connection it runs; raises `DeadlineExceeded` when nobody waits for it already."""
        with self._lock:
            if self._is_cancelled:
                raise DeadlineExceeded(_LATE)
            self._connection = connection

    def end(self) -> bool:
        """Say that it is over: what comes on its connection then is another call. Whether it was cancelled."""
        with self._lock:
            self._connection = None
            return self._is_cancelled

    def cut(self) -> None:
        """End the wait for the server at once."""
        with self._lock:
            self._is_cancelled = True
            if self._connection is not None:
                _shut(self._connection)

    def cancel(self) -> None:
        """Have the server stop; if it does not, end the wait for it."""
        with self._lock:
            self._is_cancelled = True
            connection = self._connection
        if connection is None or self.future is None:
            return
        with suppress(Exception):  # it may be frozen, or done by now
            connection.cancel_safe(timeout=_CANCEL_S)
        if wait_for([self.future], _CANCEL_S).done:
            return
        self.cut()


def _shut(connection: Connection[Any]) -> None:
    """Have psycopg, which waits on the same socket, find it closed."""
    import psycopg

    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)


def _translated(work: Work[_T], connection: Connection[Any]) -> _T:
    import psycopg

    try:
        return work(connection)
    except psycopg.errors.QueryCanceled:
        raise DeadlineExceeded(_LATE) from None
    except psycopg.Error as error:
        is_ending = (error.sqlstate or "").startswith(_ENDING)  # it says so before its end is noticed
        raise _unavailable(error, is_lost=connection.closed or is_ending) from None


def _unavailable(error: Exception, *, is_lost: bool) -> VectorEngineUnavailable:
    detail = without_secrets((str(error).strip().splitlines() or [""])[0])
    what = "does not answer" if is_lost else "refuses"
    return VectorEngineUnavailable(f"the vector engine {what} ({type(error).__name__})", detail, is_lost=is_lost)
