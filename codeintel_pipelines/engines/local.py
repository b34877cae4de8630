"""Workers as processes of this machine, one pool of one process each: a crash takes down its own batch and no other.

Processes are spawned: a fork after the JVM has started hangs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any

from codeintel_pipelines.engines.driver import VERSIONS, Work, Worker, packed


class ProcessWorker:
    """A process that does batches of one work."""

    died: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, work: Work[Any]) -> None:
        self._work = work
        self._pool: ProcessPoolExecutor | None = None

    def start(self) -> Future[str]:
        """Spawn the process."""
        self.close()
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_prepare)
        return self._pool.submit(_versions)

    def submit(self, batch: Sequence[Any]) -> Future[list[bytes]]:
        """Do a batch."""
        assert self._pool is not None
        return self._pool.submit(packed, self._work, batch)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()  # it holds no locks and writes nothing
        for process in processes:
            process.join()
        self._pool = None


def hire(work: Work[Any], count: int) -> list[Worker]:
    """Workers of this machine, not started yet."""
    return [ProcessWorker(work) for _ in range(count)]


def _versions() -> str:
    return VERSIONS


def _prepare() -> None:
    """Ctrl-C is the parent's to handle; a parent that is killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
