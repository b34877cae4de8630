"""Segments: rows that one machine handed over for one day, whole lines under the digest they had when they were sent.

A row may come in two segments (a machine was killed between sending and noting it), never in none: the key of each row
makes it one in the tables.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime

import pyarrow as pa

from codeintel_core.objects import keys
from codeintel_core.objects.bucket import Bucket, Entry

MAX_BYTES = 8 << 20
"""Of lines in a segment; the row that crosses it is still part."""
_MOST_UNPACKED = 160 << 20
_MOST_LISTED = 10_000
_KEY = re.compile(rf"{keys.SEGMENTS}/([0-9a-f]{{12}})/(\d{{4}}-\d{{2}}-\d{{2}})/(traces|feedback)-([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class Segment:
    """What a key says: whose rows of which day (YYYY-MM-DD) and table, and the SHA-256 of their lines."""

    machine: str
    day: str
    table: str
    sha256: str

    @property
    def key(self) -> str:
        """Where it is in the bucket."""
        return keys.segment(self.machine, self.day, self.table, self.sha256)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Segments that are in the bucket, at most 10,000 of them, and when the oldest came."""

    count: int = 0
    oldest: datetime | None = None

    @property
    def text(self) -> str:
        """The number, in words where it was not counted to the end."""
        return f"{_MOST_LISTED} or more" if self.count >= _MOST_LISTED else str(self.count)


def of_key(key: str) -> Segment | None:
    """The segment of a key, None when it is not the key of one."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    try:
        date.fromisoformat(match[2])
    except ValueError:
        return None
    return Segment(*match.groups())


def listed(bucket: Bucket, machine: str = "", *, most: int | None = None) -> dict[Segment, Entry]:
    """Segments of a machine, or of all, that are in the bucket."""
    found = bucket.list(keys.segments(machine), most=most)
    return {segment: entry for key, entry in found.items() if (segment := of_key(key)) is not None}


def waiting(bucket: Bucket, machine: str = "") -> Waiting:
    """How many segments of a machine, or of all, wait for the one that makes the tables."""
    found = listed(bucket, machine, most=_MOST_LISTED)
    return Waiting(len(found), min((entry.modified for entry in found.values()), default=None))


def put(bucket: Bucket, machine: str, day: str, table: str, lines: bytes) -> Segment:
    """Write whole lines as a segment; it is there, durably, when this returns."""
    segment = Segment(machine, day, table, hashlib.sha256(lines).hexdigest())
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as to:
        to.write(lines)
    bucket.create(segment.key, sink.getvalue().to_pybytes())  # False: these very lines are there
    return segment


def get(bucket: Bucket, segment: Segment) -> bytes | None:
    """The lines of a segment, None when it is gone; raises ValueError when they are not those of its digest."""
    found = bucket.get(segment.key)
    if found is None:
        return None
    try:
        with pa.CompressedInputStream(pa.BufferReader(found[0]), "zstd") as source:
            lines: bytes = source.read(_MOST_UNPACKED)
    except OSError as error:
        raise ValueError(f"{segment.key} cannot be unpacked ({error})") from None
    if hashlib.sha256(lines).hexdigest() != segment.sha256:
        raise ValueError(f"{segment.key} does not match its digest")
    return lines


def mask(bucket: Bucket, masked: Callable[[bytes], bytes], *, dry_run: bool = False) -> tuple[list[str], list[str]]:
    """Replace every segment that `masked` changes by one with what it gives.

    Returns:
        Keys of those that held something, and of those that cannot be read, so that nobody knows what they hold.
    """
    held, damaged = [], []
    for segment in listed(bucket):
        try:
            lines = get(bucket, segment)
        except ValueError:
            damaged.append(segment.key)
            continue
        if lines is None or (clean := masked(lines)) == lines:
            continue
        held.append(segment.key)
        if not dry_run:
            put(bucket, segment.machine, segment.day, segment.table, clean)
            bucket.delete([segment.key])
    return held, damaged


def expire(bucket: Bucket, before: date, *, dry_run: bool = False) -> int:
    """Delete segments of days before `before`; returns how many."""
    old = [segment.key for segment in listed(bucket) if date.fromisoformat(segment.day) < before]
    if not dry_run:
        bucket.delete(old)
    return len(old)
