"""How far a folder has handed over its rows: what is noted on its disk, and what that means."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from codeintel_core.durable import fsync
from codeintel_core.errors import InvalidRequest
from codeintel_core.home import Home
from codeintel_core.objects.segments import Waiting

_ID = re.compile("[0-9a-f]{12}")
_LONG = timedelta(days=1)  # who makes the tables does so every few minutes


def machine(home: Home) -> str:
    """Id of a home folder among those that share rows, 12 hex digits; kept in it, whatever its host is called.

    Raises:
        InvalidRequest: its file holds something else; nobody would find rows under it.
    """
    file = home.root / "machine"
    if not file.exists():
        home.root.mkdir(parents=True, exist_ok=True)
        mine = file.with_name(f"machine.{uuid4().hex}")
        mine.write_text(uuid4().hex[:12])
        fsync(mine)
        with suppress(FileExistsError):  # another process was faster
            os.link(mine, file)
        mine.unlink()
    found = file.read_text(errors="replace").strip()
    if not _ID.fullmatch(found):
        raise InvalidRequest(f"{file} does not hold the id of its folder (12 hex digits); delete it to have a new one")
    return found


@dataclass(slots=True)
class Record:
    """What is noted in `handover.json` of the home; of another bucket it is not this one's.

    Attributes:
        handed: bytes of each journal, by its path in the home, that are in the bucket.
        complete_at: when all were, '' when never.
        collector: host of the machine that makes the tables, '' when there is none.
        is_mine: whether that is this one.
        in_bucket, oldest: segments that wait there, and when the first came, as the last look found them.
        problem: why the last hand-over failed, '' when it did not.
    """

    bucket: str
    handed: dict[str, int] = field(default_factory=dict)
    complete_at: str = ""
    collector: str = ""
    is_mine: bool = False
    in_bucket: int = 0
    oldest: str = ""
    problem: str = ""

    @property
    def hands_over(self) -> bool:
        """Whether there is a machine that makes the tables, and it is not this one."""
        return bool(self.collector) and not self.is_mine


def load(file: Path, bucket: str) -> Record:
    """The record of that bucket; an empty one makes everything be handed over again, once in the tables."""
    try:
        record = Record(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return Record(bucket)
    return record if record.bucket == bucket else Record(bucket)


def save(file: Path, record: Record) -> None:
    """Replace the record at once."""
    pending = file.with_suffix(".tmp")
    pending.write_text(json.dumps(asdict(record)))
    os.replace(pending, file)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the rows are that are in no table yet.

    Attributes:
        collector: host of the machine that makes the tables, '' when there is none.
        is_mine: whether that is this machine; `in_bucket` are then the segments of all machines, else its own.
        bytes_here: of rows that are only here.
        here_since: no row that is only here is older; None when there is none.
        in_bucket: what waits in the bucket for the collector.
        problem: why the last hand-over failed, '' when it did not.
    """

    collector: str
    is_mine: bool
    bytes_here: int
    here_since: datetime | None
    in_bucket: Waiting
    problem: str

    def oldest_s(self, now: datetime) -> float:
        """Age in seconds of the oldest of these rows, or less; 0 when there are none."""
        since = min(filter(None, (self.here_since, self.in_bucket.oldest)), default=now)
        return max(0.0, (now - since).total_seconds())

    def reason(self, now: datetime) -> str:
        """What is wrong, '' when nothing is."""
        found = []
        if self.problem:
            found.append(self.problem + (f"; {self.bytes_here} bytes of rows wait here" if self.bytes_here else ""))
        oldest = self.in_bucket.oldest
        if oldest is not None and now - oldest > _LONG:
            who = "this machine makes the tables, but" if self.is_mine else self.collector
            found.append(
                f"{self.in_bucket.text} segments of rows wait in the bucket since {oldest:%Y-%m-%d %H:%M} UTC: "
                f"{who} does not take them (start the sensor new_traces there, or run `codeintel analytics`)"
            )
        return "; ".join(found)
