"""Several processes behind one listening socket, and the parent that keeps them running.

The workers inherit the socket: who holds the fewest connections accepts, and what waits in it survives the worker
that dies. Each is a new interpreter, never a fork, which a JVM does not survive. The parent loads nothing that could
fail: it starts workers, waits, starts the dead ones again, passes signals on.

Each has CPUs of its own (ADR 27): threads of one interpreter wake each other all the time, which takes long where the
sleeper's CPU has to be woken too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from codeintel_core.errors import InvalidRequest
from codeintel_core.settings import Settings
from codeintel_serving import shared_pages
from codeintel_serving.siblings import Connections, Siblings

_log = logging.getLogger("codeintel.serving")
_WORKER = [sys.executable, "-c", "from codeintel_core.cli import main; main()", "worker"]
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_SHORT_LIFE_S = 30.0  # a worker that lives longer is started again without a wait
_MOST_FAILED_STARTS = 3
_KILL_AFTER_S = 20.0  # beyond notice and grace: closing indexes, flushing traces


def check(settings: Settings, count: int) -> None:
    """Raises `InvalidRequest` when several workers cannot be one server."""
    if count > 1 and settings.redis_url is None:
        raise InvalidRequest(
            "several workers share scope handles through Redis: set CODEINTEL_REDIS_URL, or serve with --workers 1"
        )


def cpus_of(number: int, count: int, cpus: Sequence[int]) -> set[int]:
    """The CPUs of worker `number` (from 1): as many neighbours for each, and the last ones left over for all.

    All are everybody's where they are fewer than workers.
    """
    share = len(cpus) // count
    return {*cpus[(number - 1) * share : number * share], *cpus[count * share :]}


def keep_to_own_cpus(number: int, count: int) -> None:
    """Bind this process to its CPUs, and the threads and processes that it starts from now on."""
    if not hasattr(os, "sched_setaffinity"):  # not Linux
        return
    try:
        os.sched_setaffinity(0, cpus_of(number, count, sorted(os.sched_getaffinity(0), key=_place)))
    except OSError as error:  # a sandbox may forbid it
        _log.warning("worker %d runs on any CPU, since it cannot be bound: %s", number, error)


def _place(cpu: int, system: Path = Path("/sys/devices/system/cpu")) -> tuple[int, ...]:
    """Socket, core and number of a CPU: in this order those that share a core or a cache are neighbours."""
    try:
        found = [int((system / f"cpu{cpu}/topology/{name}").read_text()) for name in ("physical_package_id", "core_id")]
    except (OSError, ValueError):
        found = [0, 0]
    return *found, cpu


def run(count: int, listener: socket.socket, settings: Settings) -> int:
    """Keep `count` workers serving until a signal ends them; returns the exit code.

    0 when all ended as they were told to; 1 when one had to be killed or failed at its end, or none could start.
    """
    with tempfile.TemporaryDirectory(prefix="codeintel-") as folder:  # short: addresses of sockets have 107 bytes
        patience_s = settings.shutdown_notice_s + settings.shutdown_grace_s
        pages = shared_pages.memory(2 * settings.result_cache)
        try:
            return asyncio.run(_Parent(count, listener, pages, Path(folder), patience_s).run())
        finally:
            if pages >= 0:
                os.close(pages)


class _Parent:
    def __init__(self, count: int, listener: socket.socket, pages: int, folder: Path, patience_s: float) -> None:
        self._workers = [_Worker(Siblings(folder, number + 1, count), listener, pages) for number in range(count)]
        self._patience_s = patience_s + _KILL_AFTER_S
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        await asyncio.gather(*(self._keep(worker) for worker in self._workers))
        return self._exit_code

    def _stop(self, number: signal.Signals) -> None:
        """Pass the signal on: the second one skips the notice, the third the grace."""
        self._stopping.set()
        for worker in self._workers:
            worker.signal(number)

    async def _keep(self, worker: _Worker) -> None:
        while not self._stopping.is_set():
            code = await self._lived(worker)
            if self._stopping.is_set():
                if code and worker.came_up:
                    self._exit_code = 1
                return
            wait_s = worker.note_end()
            if all(one.failed_starts >= _MOST_FAILED_STARTS and not one.came_up for one in self._workers):
                _log.error("no worker starts; what each said is above")
                self._exit_code = 1
                self._stop(signal.SIGTERM)
                return
            _log.warning("worker %d ended with %d; started again in %.1f s", worker.number, code, wait_s)
            await self._wait(wait_s)

    async def _lived(self, worker: _Worker) -> int:
        """Start a worker and wait for its end: its exit code. One that does not end when it is told to is killed."""
        try:
            process = await worker.start()
        except OSError as error:  # no memory, too many processes
            _log.error("worker %d cannot be started: %s", worker.number, error)
            return 1
        if self._stopping.is_set():  # the signal came while it was started
            worker.signal(signal.SIGTERM)
        ended = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
            done, _ = await asyncio.wait({ended}, timeout=self._patience_s)
            if not done:
                _log.error("a worker did not end within %.0f s; it is killed", self._patience_s)
                process.kill()
            return await ended
        finally:
            stopping.cancel()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass


class _Worker:
    """One place among the workers, whichever process holds it.

    Attributes:
        failed_starts: processes in a row that ended before they came up.
    """

    def __init__(self, siblings: Siblings, listener: socket.socket, pages: int) -> None:
        self._siblings, self._listener, self._pages = siblings, listener, pages
        self._connections = Connections(siblings)  # now, for later there may be no descriptor left
        self._process: asyncio.subprocess.Process | None = None
        self._started_at_s = 0.0
        self._short_lives = 0
        self.failed_starts = 0

    @property
    def number(self) -> int:
        """1 for the first."""
        return self._siblings.number

    @property
    def came_up(self) -> bool:
        """Whether its process got as far as to listen."""
        return self._siblings.mark.exists()

    async def start(self) -> asyncio.subprocess.Process:
        """A new process. Its stdin is a pipe that ends with this one: then it ends too."""
        for left in (self._siblings.mark, self._siblings.address(self.number)):
            left.unlink(missing_ok=True)
        self._started_at_s = time.monotonic()
        inherited = [self._listener.fileno(), self._pages]
        self._process = await asyncio.create_subprocess_exec(
            *_WORKER, "--", *map(str, inherited), str(self._siblings.folder),
            str(self._siblings.number), str(self._siblings.count),
            stdin=asyncio.subprocess.PIPE, pass_fds=[one for one in inherited if one >= 0],
            start_new_session=True,  # Ctrl-C reaches it once, through the parent
        )  # fmt: skip
        return self._process

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal on, if there is a process."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def note_end(self) -> float:
        """Count the end of the process; returns how many seconds to wait before the next."""
        self._connections.leave()  # the others need not leave anything to it
        self.failed_starts = 0 if self.came_up else self.failed_starts + 1
        self._short_lives = self._short_lives + 1 if time.monotonic() < self._started_at_s + _SHORT_LIFE_S else 0
        return min(_FIRST_WAIT_S * 2 ** (self._short_lives - 1), _LONGEST_WAIT_S) if self._short_lives else 0.0
