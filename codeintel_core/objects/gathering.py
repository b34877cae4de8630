"""Gathering: segments of all machines become journals of the one that makes the tables, which then lets go of them.

A segment stays in the bucket until the table that holds its rows is on this disk. Whoever is killed in between brings
it again, or finds it here; its rows are in the table once, by their key.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codeintel_core.durable import fsync
from codeintel_core.errors import BucketUnavailable, InvalidRequest
from codeintel_core.home import Home
from codeintel_core.locks import locked
from codeintel_core.objects import collector, segments, standing
from codeintel_core.objects.bucket import Bucket, in_parallel
from codeintel_core.objects.handover import BROUGHT
from codeintel_core.objects.segments import Segment
from codeintel_core.secrets import purged
from codeintel_core.traces import tables
from codeintel_core.traces.tables import DailyTable


@dataclass(slots=True)
class Brought:
    """What was brought in: segments whose rows are in journals here now, and what stands in the way of the others."""

    segments: list[Segment] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def machines(self) -> int:
        """Whose rows they are."""
        return len({segment.machine for segment in self.segments})


class Gathering:
    """Brings the rows of all machines into the journals of this home."""

    def __init__(self, bucket: Bucket, home: Home) -> None:
        self._bucket, self._home = bucket, home

    def bring(self, day: str = "", *, only: Sequence[DailyTable] = ()) -> Brought:
        """Bring in what waits, of one day (YYYY-MM-DD) or all, of some tables or all.

        What cannot be had is a problem and stays where it is: tables are made of what is here.
        """
        found = Brought()
        names = {table.name: table for table in only or tables.every(self._home)}
        try:
            collector.claim(self._bucket, standing.machine(self._home))
            with locked(self._home.root / "gathering.lock"):
                wanted = [one for one in segments.listed(self._bucket) if one.table in names and day in ("", one.day)]
                in_parallel(self._bring, [(names[one.table], one, found) for one in wanted])
        except (BucketUnavailable, InvalidRequest, OSError) as error:
            found.problems.append(str(error))
        return found

    def waiting(self) -> list[Segment]:
        """What waits in the bucket.

        Raises:
            BucketUnavailable, InvalidRequest: it cannot be asked; another machine makes the tables.
        """
        collector.claim(self._bucket, standing.machine(self._home))
        return sorted(segments.listed(self._bucket), key=lambda one: one.key)

    def let_go(self, brought: Collection[Segment]) -> None:
        """Delete segments whose rows are durable in the tables; raises `BucketUnavailable`, and the next time does.

        One whose journal is gone stays: a collection may have taken it before the table was made of it.
        """
        names = {table.name: table for table in tables.every(self._home)}
        self._bucket.delete(one.key for one in brought if _journal(names[one.table], one).exists())

    def _bring(self, table: DailyTable, segment: Segment, found: Brought) -> None:
        path = _journal(table, segment)
        if not path.exists():
            try:
                lines = segments.get(self._bucket, segment)
            except ValueError as error:
                found.problems.append(str(error))
                return
            if lines is None:  # another process was faster, or it was purged
                return
            self._write(path, lines)
        found.segments.append(segment)

    def _write(self, path: Path, lines: bytes) -> None:
        """Write a journal durably, masked by the purge list: a purge scrubs journals after its entry, this looks again
        after writing, so that one sees the other.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            state = purged.state(self._home.purged)
            masked, _ = purged.load(self._home.purged).mask(lines)
            pending = path.with_suffix(".part")
            pending.write_bytes(masked)
            fsync(pending)
            pending.replace(path)
            if purged.state(self._home.purged) == state:
                return


def _journal(table: DailyTable, segment: Segment) -> Path:
    return table.journals / f"date={segment.day}" / f"{BROUGHT}{segment.machine}-{segment.sha256}.jsonl"
