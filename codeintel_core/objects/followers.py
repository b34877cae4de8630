"""Which folders follow a bucket, and whether a purge has reached them all.

A purge ends with a new round in the bucket. A folder that sees it lets go of every generation that the bucket does not
keep, and then says so in its record. The purge is done when every record names the round: nothing serves what it took.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from codeintel_core.errors import BucketUnavailable
from codeintel_core.home import Home
from codeintel_core.objects import keys
from codeintel_core.objects.bucket import Bucket, Entry

_SAYS_SO_EVERY = timedelta(days=1)  # a record that was deleted by mistake comes back within that time

_BEGUN = b"begun "


@dataclass(frozen=True, slots=True)
class _Known:
    """What a folder knows of itself; of another bucket, machine or place it is not this folder's."""

    bucket: str
    place: str
    machine: str
    round: str = ""  # the last one that was carried out here
    said_at: str = ""


class Follower:
    """The record of one folder in the bucket that it follows; several processes may share the folder."""

    def __init__(self, bucket: Bucket, home: Home) -> None:
        self._bucket, self._home = bucket, home
        self._file = home.root / "follower.json"
        self.problem = ""  # why the bucket does not know of this folder

    def sign_in(self) -> None:
        """Make the folder known before it looks at anything, so that no purge overlooks it.

        A machine that may not write serves on all the same; `problem` says what that means.

        Raises:
            BucketUnavailable: the bucket cannot be used.
        """
        with self._known() as known:
            said_at = datetime.fromisoformat(known.said_at) if known.said_at else None
            if said_at is None or datetime.now(UTC) - said_at > _SAYS_SO_EVERY:
                self._say(known, known.round)

    def pending(self, listed: Mapping[str, Entry]) -> str:
        """The round in a listing of `keys.STATE` that was not carried out here yet, '' when there is none."""
        entry = listed.get(keys.ROUND)
        with self._known() as known:
            return "" if entry is None or entry.e_tag == known.round else entry.e_tag

    def confirm(self, done: str) -> None:
        """Say that a round was carried out; raises `BucketUnavailable`, and it is carried out again."""
        with self._known() as known:
            self._say(known, done)

    def _say(self, known: _Known, done: str) -> None:
        from obstore.exceptions import PermissionDeniedError

        record = {"host": socket.gethostname(), "round": done}
        self.problem = ""
        try:
            self._bucket.put(keys.follower(known.machine), json.dumps(record).encode())
        except BucketUnavailable as error:
            if not isinstance(error.__cause__, PermissionDeniedError):
                raise
            self.problem = f"this machine may not write {keys.FOLLOWERS}/* in the bucket, so no purge waits for it"
        self._write(_Known(known.bucket, known.place, known.machine, done, datetime.now(UTC).isoformat()))

    @contextmanager
    def _known(self) -> Iterator[_Known]:
        self._home.root.mkdir(parents=True, exist_ok=True)
        with (self._home.root / "follower.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            place = f"{socket.gethostname()}:{self._home.root.resolve()}"
            try:
                known = _Known(**json.loads(self._file.read_text()))
            except (FileNotFoundError, ValueError, TypeError):
                known = None
            if known is None or (known.bucket, known.place) != (self._bucket.url, place):  # new, or a copy of a folder
                known = _Known(self._bucket.url, place, uuid4().hex[:12])
                self._write(known)
            yield known

    def _write(self, known: _Known) -> None:
        pending = self._file.with_suffix(".tmp")
        pending.write_text(json.dumps(asdict(known)))
        os.replace(pending, self._file)


def begin_round(bucket: Bucket) -> None:
    """Note that something is about to be purged: if that is killed, the next purge asks everybody again."""
    found = bucket.get(keys.ROUND)
    if found is None or not found[0].startswith(_BEGUN):
        bucket.put(keys.ROUND, _BEGUN + uuid4().hex.encode())


def finish_round(bucket: Bucket) -> str:
    """Ask every folder to let go of what the bucket does not keep any more, unless nothing changed since they did.

    Returns:
        The round, as `Follower.pending` names it.

    Raises:
        BucketUnavailable: nobody was asked.
    """
    found = bucket.get(keys.ROUND)
    if found is None or found[0].startswith(_BEGUN):
        bucket.put(keys.ROUND, uuid4().hex.encode())
        found = bucket.get(keys.ROUND)
    if found is None:
        raise BucketUnavailable(f"{bucket.url} loses what is written to it: {keys.ROUND}")
    return found[1]


def unconfirmed(bucket: Bucket, wanted: str) -> dict[str, str]:
    """Folders that did not carry out a round, by id: the machine, and when it was last heard of."""
    waiting = {}
    for key, entry in bucket.list(keys.FOLLOWERS).items():
        found = bucket.get(key)
        record = _read(found[0]) if found else {"round": wanted}
        if record.get("round") != wanted:
            host = record.get("host", "a machine")
            waiting[key.rpartition("/")[2]] = f"{host}, last heard of at {entry.modified:%Y-%m-%d %H:%M} UTC"
    return waiting


def forget(bucket: Bucket, machines: Collection[str]) -> None:
    """Take folders that are gone for good off the list; one that is not comes back within a day."""
    bucket.delete(map(keys.follower, machines))


def _read(document: bytes) -> dict[str, str]:
    try:
        found = json.loads(document)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
