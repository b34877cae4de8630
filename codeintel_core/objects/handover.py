"""Handing over: what a machine journaled goes to the bucket, for the machine that makes the tables of all.

The lines that were appended to the journals since the last time become segments; the journals stay as they are, and
what was handed over of each is noted once the bucket has it. Nothing is handed over before some machine makes tables,
nor by that one: its journals are where the others' rows go.
"""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from codeintel_core.deadline import Deadline
from codeintel_core.errors import BucketUnavailable, CodeIntelError, InvalidRequest
from codeintel_core.home import Home
from codeintel_core.objects import collector, segments, standing
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.segments import Waiting
from codeintel_core.objects.standing import Record, Standing
from codeintel_core.objects.upload import is_purged_since
from codeintel_core.secrets import purged
from codeintel_core.traces import journal, tables
from codeintel_core.traces.tables import DailyTable

_log = logging.getLogger("codeintel.handover")
BROUGHT = "from-"
"""Names of journals begin so that hold another machine's rows."""
_LAST_WAIT_S, _LAST_S = 2.0, 5.0


class Handover:
    """Hands over what the processes of one folder journaled; any of them may, one at a time."""

    def __init__(self, bucket: Bucket, home: Home, *, hurried: Bucket | None = None, collects: bool = False) -> None:
        """`hurried`: the same bucket, with less patience; `collects`: this machine makes the tables of all."""
        self._bucket, self._hurried, self._home, self._collects = bucket, hurried or bucket, home, collects
        self._file = home.root / "handover.json"
        self._stopping = threading.Event()

    def run(self) -> Standing:
        """Hand over what was appended since the last time; what fails is a `problem`, and part of the next time."""
        with self._alone(0) as is_alone:
            if is_alone:
                self._run(self._bucket, self._stopping.is_set)
        return self.standing()

    def finish(self) -> None:
        """The last time of a process: for a few seconds, without patience, since the next process goes on."""
        self._stopping.set()  # another thread of this process
        with self._alone(_LAST_WAIT_S) as is_alone:
            if is_alone:
                ends = Deadline.after(_LAST_S)
                self._run(self._hurried, lambda: ends.is_over)

    def standing(self) -> Standing:
        """Where this machine's rows are, from what is on this disk."""
        record = self._load()
        waits = self._unsent(record) if record.hands_over else {}
        oldest = datetime.fromisoformat(record.oldest) if record.oldest else None
        return Standing(
            collector=record.collector,
            is_mine=record.is_mine,
            bytes_here=sum(waits.values()),
            here_since=_since(record, waits) if waits else None,
            in_bucket=Waiting(record.in_bucket, oldest),
            problem=record.problem,
        )

    def reaches_tables(self) -> bool:
        """Whether this machine's rows get to where the tables of all are made, as its last look at the bucket knows."""
        return bool(self._load().collector)

    def unsent(self) -> frozenset[Path]:
        """Journals with rows that are to be handed over first, before they may be removed."""
        record = self._load()
        return frozenset(self._unsent(record)) if record.hands_over else frozenset()

    def expire(self, today: date, *, trace_days: int, ledger_days: int, dry_run: bool = False) -> int:
        """Remove journals that were handed over with the ledgers of their runs, and every row that is too old.

        The machine that makes the tables keeps its own by their rules. Returns how many files and segments went.

        Raises:
            BucketUnavailable: not all went.
        """
        record, gone = self._load(), 0
        unsent = self._unsent(record)
        oldest, oldest_handed = today - timedelta(days=trace_days), today - timedelta(days=ledger_days)
        for day, path in self._journals() if record.hands_over else ():
            at = date.fromisoformat(day)
            if at < oldest or (at < oldest_handed and path not in unsent):
                gone += 1
                if not dry_run:
                    path.unlink(missing_ok=True)
        return gone + segments.expire(self._bucket, oldest, dry_run=dry_run)

    def _run(self, bucket: Bucket, is_over: Callable[[], bool]) -> None:
        began, record = datetime.now(UTC), self._load()
        try:
            problem = self._look(bucket, record)
            if not record.hands_over:
                record.complete_at = ""
            elif self._hand_over(bucket, record, is_over):
                record.complete_at = began.isoformat()
        except (CodeIntelError, OSError) as error:
            problem = str(error)
        if problem and problem != record.problem:
            _log.warning("rows wait to be handed over: %s", problem)
        record.problem = problem
        with suppress(OSError):  # a full disk: it is done again, and the rows are one in the tables
            standing.save(self._file, record)

    def _look(self, bucket: Bucket, record: Record) -> str:
        """Note who makes the tables and what waits for it; returns why it is not this machine, though it is to be."""
        problem, machine = "", standing.machine(self._home)
        if self._collects:
            try:
                collector.claim(bucket, machine)
            except InvalidRequest as error:
                problem = str(error)
        found = collector.named(bucket)
        record.collector, record.is_mine = found.host, found.machine == machine
        waiting = Waiting()
        if record.collector:
            waiting = segments.waiting(bucket, machine if record.hands_over else "")
        record.in_bucket, record.oldest = waiting.count, waiting.oldest.isoformat() if waiting.oldest else ""
        return problem

    def _hand_over(self, bucket: Bucket, record: Record, is_over: Callable[[], bool]) -> bool:
        """Send what the bucket lacks, each segment noted once it is there; returns whether that was all."""
        record.handed = {name: end for name, end in record.handed.items() if (self._home.root / name).exists()}
        for table in tables.every(self._home):
            for day in journal.days(table.journals):
                while not is_over():
                    state = purged.state(self._home.purged)
                    lines, ends = self._next(table, day, record.handed)
                    if lines:
                        self._send(bucket, record, (day, table.name, lines), state)
                    record.handed |= ends
                    if not lines:
                        break
                    standing.save(self._file, record)
        return not is_over()

    def _send(self, bucket: Bucket, record: Record, rows: tuple[str, str, bytes], state: str) -> None:
        """Write day, table and lines as a segment, masked by the purge list, which said `state` before they were read.

        A purge lists segments after its entry, and this looks at the entry after its segment: one sees the other.
        """
        late = f"the purge list of {bucket.url} is not yet the one of this machine"
        if is_purged_since(bucket, state):
            raise BucketUnavailable(late)
        day, table, lines = rows
        masked, _ = purged.load(self._home.purged).mask(lines)
        sent = segments.put(bucket, standing.machine(self._home), day, table, masked)
        if is_purged_since(bucket, state):
            bucket.delete([sent.key])
            raise BucketUnavailable(late)
        record.in_bucket += 1
        record.oldest = record.oldest or datetime.now(UTC).isoformat()

    def _next(self, table: DailyTable, day: str, handed: Mapping[str, int]) -> tuple[bytes, dict[str, int]]:
        """Whole lines of a day that were not handed over, at most a segment of them, and how far that is."""
        lines, ends = bytearray(), dict[str, int]()
        for path in _own(table, day):
            name = self._name(path)
            with suppress(FileNotFoundError), path.open("rb") as file:  # removed meanwhile
                file.seek(handed.get(name, 0))
                data = file.read(segments.MAX_BYTES - len(lines)) + file.readline()
                whole = data[: data.rfind(b"\n") + 1]
                if whole:
                    ends[name] = handed.get(name, 0) + len(whole)
                    lines += whole
                elif data and _is_over(day):  # a torn line that nobody completes; its row was never acknowledged
                    ends[name] = handed.get(name, 0) + len(data)
            if len(lines) >= segments.MAX_BYTES:
                break
        return bytes(lines), ends

    def _unsent(self, record: Record) -> dict[Path, int]:
        """Journals with bytes that the bucket does not have, and how many."""
        found = {}
        for _, path in self._journals():
            with suppress(FileNotFoundError):
                found[path] = path.stat().st_size - record.handed.get(self._name(path), 0)
        return {path: size for path, size in found.items() if size > 0}

    def _journals(self) -> Iterator[tuple[str, Path]]:
        for table in tables.every(self._home):
            for day in journal.days(table.journals):
                for path in _own(table, day):
                    yield day, path

    def _name(self, path: Path) -> str:
        return path.relative_to(self._home.root).as_posix()

    def _load(self) -> Record:
        return standing.load(self._file, self._bucket.url)

    @contextmanager
    def _alone(self, wait_s: float) -> Iterator[bool]:
        """Whether no other process of this folder hands over; waits for it a little."""
        ends = time.monotonic() + wait_s
        try:
            self._home.root.mkdir(parents=True, exist_ok=True)
            lock = (self._home.root / "handover.lock").open("a")
        except OSError:  # a read-only home, which readiness names: there are no rows either
            yield False
            return
        with lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= ends:
                        yield False
                        return
                time.sleep(0.05)
            yield True


def _since(record: Record, waits: Mapping[Path, int]) -> datetime:
    """When all was handed over; else when the first of the journals that wait was written to last."""
    if record.complete_at:
        return datetime.fromisoformat(record.complete_at)
    times = []
    for path in waits:
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return datetime.fromtimestamp(min(times, default=time.time()), UTC)


def _own(table: DailyTable, day: str) -> list[Path]:
    return [path for path in journal.files(table.journals, day) if not path.name.startswith(BROUGHT)]


def _is_over(day: str) -> bool:
    return date.fromisoformat(day) < datetime.now(UTC).date() - timedelta(days=1)
