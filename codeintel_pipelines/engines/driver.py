"""Batches through workers that may die: results come in the order of the batches, whatever happens to workers.

What a batch is decides the caller, alone and in the same way for every engine, so all engines give the same bytes.
A batch whose worker died is tried again, item by item where that gives the same result; an item that kills its worker
again and again is given up and returned without a result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from codeintel_core import __version__
from codeintel_core.chunking import CHUNKER_VERSION
from codeintel_core.errors import BuildFailed

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)
Tables = tuple[pa.Table, ...]
VERSIONS = f"{__version__}, chunker {CHUNKER_VERSION}"
_ATTEMPTS = 3  # of a batch or an item, the first one included
_STARTS = 3  # of a worker that dies before its first batch
_AHEAD = 2  # batches per worker that are read, running or waiting for an earlier one


class Work(Protocol[Item_contra]):
    """What every worker does with a batch. Picklable; what is costly to load is kept by the process (`lru_cache`)."""

    @property
    def splits(self) -> bool:
        """Whether a batch and its items one by one give the same rows."""
        ...

    def __call__(self, batch: Sequence[Item_contra]) -> Tables:
        """Arrow tables of a batch, always the same number of them."""
        ...


class Worker(Protocol):
    """One worker: a process, or a Ray actor. It does one call at a time."""

    died: tuple[type[BaseException], ...]
    """What a future raises when the worker died: then `start` brings another one."""

    def start(self) -> Future[str]:
        """Bring up the worker; the result is its `VERSIONS`."""
        ...

    def submit(self, batch: Sequence[Any]) -> Future[list[bytes]]:
        """Do a batch: `packed` tables."""
        ...

    def close(self) -> None:
        """Stop the worker, at once."""
        ...


@dataclass(slots=True)
class Ran:
    """Which engine did a stage, for the ledger and Dagster.

    Attributes:
        engine: inline, local or ray.
        workers: at most this many at a time.
        batches: that were done, an item tried alone is one.
        retries: of batches and items whose worker died.
        lost: items given up, because their worker died each time.
    """

    engine: str = "inline"
    workers: int = 1
    batches: int = 0
    retries: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Engine:
    """A way to run batches: without workers in this process, else through as many as there are."""

    name: str = "inline"
    hire: Callable[[Work[Any]], list[Worker]] | None = None
    start_timeout_s: float = 120.0

    def run(
        self, work: Work[Item], batches: Iterable[Sequence[Item]], ran: Ran
    ) -> Iterator[tuple[Sequence[Item], Tables | None]]:
        """Each batch (or its items, one by one) with its tables, in order; None instead of tables when it is lost.

        `ran` is filled in on the way.

        Raises:
            BuildFailed: no worker starts, or one has another version of this code.
            CodeIntelError: what the work raised.
        """
        ran.engine = self.name
        if self.hire is None:
            for batch in batches:
                ran.batches += 1
                yield batch, work(batch)
            return
        workers = self.hire(work)
        ran.workers = len(workers)
        try:
            yield from _Drive(workers, work.splits, ran, self.start_timeout_s).results(batches)
        finally:
            for worker in workers:
                worker.close()


def packed(work: Work[Any], batch: Sequence[Any]) -> list[bytes]:
    """The tables of a batch as Arrow IPC streams: what workers send back."""
    return [_stream(table) for table in work(batch)]


def _stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpacked(streams: list[bytes]) -> Tables:
    return tuple(pa.ipc.open_stream(stream).read_all() for stream in streams)


class _Drive:
    """The loop over futures: which worker does what, and what is done again."""

    def __init__(self, workers: Sequence[Worker], splits: bool, ran: Ran, start_timeout_s: float) -> None:
        self._splits, self._ran, self._start_timeout_s = splits, ran, start_timeout_s
        self._running: dict[Future[Any], tuple[Worker, _Piece | None]] = {}  # without a piece: starting
        self._idle: list[Worker] = []
        self._todo: deque[_Piece] = deque()
        self._starts: dict[int, int] = {}
        self._limit = _AHEAD * len(workers)
        for worker in workers:
            self._start(worker)

    def results(self, batches: Iterable[Sequence[Item]]) -> Iterator[tuple[Sequence[Item], Tables | None]]:
        """As `Engine.run`."""
        source = iter(batches)
        ahead: deque[list[_Piece]] = deque()  # of each batch its pieces, first the one to yield next
        exhausted = False
        while True:
            while not exhausted and len(ahead) < self._limit:
                batch = next(source, None)
                if batch is None:
                    exhausted = True
                else:
                    pieces: list[_Piece] = []
                    self._todo.append(_Piece(batch, pieces))
                    pieces.append(self._todo[-1])
                    ahead.append(pieces)
            while ahead and all(piece.done for piece in ahead[0]):
                for piece in ahead.popleft():
                    yield piece.items, piece.tables
            if exhausted and not ahead:
                return
            if len(ahead) < self._limit and not exhausted:
                continue
            self._step()

    def _step(self) -> None:
        """Give idle workers something to do, and wait until something ends."""
        while self._idle and self._todo:
            worker, piece = self._idle.pop(), self._todo.popleft()
            try:
                future = worker.submit(piece.items)
            except worker.died:
                self._failed(worker, piece)
                continue
            self._running[future] = (worker, piece)
        starting = not any(piece for _, piece in self._running.values())
        done, _ = wait(self._running, self._start_timeout_s if starting else None, FIRST_COMPLETED)
        if not done:
            raise BuildFailed(
                f"no worker of engine '{self._ran.engine}' was up after {self._start_timeout_s:.0f} s; "
                "are there free CPUs? (CODEINTEL_ENGINE=inline builds without workers)"
            )
        for future in done:
            self._ended(future, *self._running.pop(future))

    def _ended(self, future: Future[Any], worker: Worker, piece: _Piece | None) -> None:
        try:
            result = future.result()
        except worker.died:
            self._failed(worker, piece)
            return
        self._idle.append(worker)
        self._starts[id(worker)] = 0
        if piece is not None:
            self._ran.batches += 1
            piece.tables, piece.done = _unpacked(result), True
        elif result != VERSIONS:
            raise BuildFailed(f"a worker has CodeIntel {result}, this build {VERSIONS}; install the same version there")

    def _failed(self, worker: Worker, piece: _Piece | None) -> None:
        self._start(worker)
        if piece is None:
            return
        piece.attempts += 1
        if piece.attempts >= _ATTEMPTS:
            self._ran.lost += len(piece.items)
            piece.done = True
            return
        if self._splits and len(piece.items) > 1:
            alone = [_Piece([item], piece.siblings, piece.attempts) for item in piece.items]
            piece.siblings[:] = alone
        else:
            alone = [piece]
        self._ran.retries += len(alone)
        self._todo.extendleft(reversed(alone))

    def _start(self, worker: Worker) -> None:
        count = self._starts[id(worker)] = self._starts.get(id(worker), 0) + 1
        if count > _STARTS:
            raise BuildFailed(f"workers of engine '{self._ran.engine}' die as soon as they start; is memory short?")
        self._running[worker.start()] = (worker, None)


class _Piece:
    """A batch, or one item of a batch that is tried alone."""

    __slots__ = ("attempts", "done", "items", "siblings", "tables")

    def __init__(self, items: Sequence[Any], siblings: list[_Piece], attempts: int = 0) -> None:
        self.items, self.siblings, self.attempts = items, siblings, attempts
        self.tables: Tables | None = None
        self.done = False
