"""Small files that all machines of a home have, and what this machine last saw of them in the bucket.

Registrations, holds, pins, the purge list, the targets of groups and learned weights. A change on this machine is
written back only if the bucket still has what it was made from; of weights the bucket hears first (`announce`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from codeintel_core import watched
from codeintel_core.errors import PublishConflict
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.locks import locked
from codeintel_core.objects import keys, packs
from codeintel_core.objects.bucket import Bucket, Entry

_TUNING = ("tuning/[0-9]*.json", "tuning/HELD", "tuning/CURRENT")  # the pointer after what it names
_NAMES = ("purged.json", "groups.json", "repos/*/repository.json", "repos/*/hold.json", "repos/*/pins/*", *_TUNING)
_SHARED = re.compile(
    r"purged\.json|groups\.json|tuning/(\d{8}T\d{6}Z-[0-9a-f]{16}\.json|HELD|CURRENT)"
    r"|repos/[a-z0-9][a-z0-9._-]{0,99}/(repository\.json|hold\.json|pins/[a-z0-9-]{1,100})"
)
_ANNOUNCED = f"{keys.STATE}/tuning/"
_TUNED = f"{_ANNOUNCED}CURRENT"
_POINTER = re.compile(rf"{keys.STATE}/repos/([a-z0-9][a-z0-9._-]{{0,99}})/CURRENT")


class SharedFiles:
    """The files of one home and their twins in a bucket; what was seen of them is kept in `bucket.json` of the home."""

    def __init__(self, bucket: Bucket, home: Home, timeout_s: float) -> None:
        self._bucket, self._home, self._timeout_s = bucket, home, timeout_s
        self._file = home.root / "bucket.json"

    def pull(self, there: Mapping[str, Entry]) -> dict[str, tuple[str, str]]:
        """Take over what changed in a listing of `keys.STATE`.

        Returns:
            For each repository that serves something in the bucket: the ETag of its pointer, and what that names.
        """
        with self._seen() as seen:
            self._remove_gone(there, seen)
            for key in sorted(there, key=lambda key: (key.endswith("/repository.json"), key)):  # registrations last
                self._take_over(key, there[key].e_tag, seen)
            return {match[1]: seen[key] for key in there if key in seen and (match := _POINTER.fullmatch(key))}

    def push(self, *, is_masked: bool = False) -> None:
        """Write back what changed here since it was taken over.

        Of learned weights only what the bucket lacks, from a home that was a folder: a document never changes, so that
        one that is damaged here stays here. With `is_masked` a purge did change some, and they are written too.

        Raises:
            PublishConflict: another machine changed the same file meanwhile.
        """
        with self._seen() as seen:
            here = {keys.shared_file(self._home, path): path for name in _NAMES for path in self._home.root.glob(name)}
            for key, path in here.items():
                data = path.read_bytes()
                if key in seen and seen[key][1] == _digest(data):
                    continue
                if _is_announced(key) and not is_masked:
                    if key not in seen:
                        self._bucket.create(key, data)  # what it has already, `pull` takes over
                    continue
                seen[key] = (self._store(key, data, seen), _digest(data))
            gone = [key for key in seen if key not in here and not _POINTER.fullmatch(key) and not _is_announced(key)]
            for key in gone:
                self._bucket.delete([key])
                del seen[key]

    def announce(self, changes: Mapping[Path, bytes | None]) -> None:
        """Write or delete files in the bucket, in this order, before the same is done here.

        Should it not come to be done here, `pull` does it.

        Raises:
            PublishConflict: another machine changed one of them meanwhile; nothing may be changed here.
        """
        with self._seen() as seen:
            for path, data in changes.items():
                key = keys.shared_file(self._home, path)
                if data is None:
                    self._bucket.delete([key])
                else:
                    seen[key] = (self._store(key, data, seen), _digest(data))

    def _take_over(self, key: str, e_tag: str, seen: dict[str, tuple[str, str]]) -> None:
        """Write here what the bucket has, unless it is what was seen; a repository's pointer is only noted."""
        name = key.removeprefix(f"{keys.STATE}/")
        if not _SHARED.fullmatch(name) and not _POINTER.fullmatch(key):
            return
        path = None if _POINTER.fullmatch(key) else self._home.root / name
        if key in seen and seen[key][0] == e_tag and (path is None or self._is_here(key, path, seen[key][1])):
            return
        found = self._bucket.get(key)
        if found is None:
            return
        line = found[0].decode("utf-8", "replace").strip() if path is None or key == _TUNED else ""
        if key == _TUNED and f"{_ANNOUNCED}{line}.json" not in seen:  # it may be younger than the listing
            self._take_over(f"{_ANNOUNCED}{line}.json", "", seen)
        if path is not None:
            self._write(path, found[0])
        seen[key] = (found[1], _digest(found[0]) if path else line)

    def _is_here(self, key: str, path: Path, digest: str) -> bool:
        """Whether a file is here; the pointer to weights as it was seen, for `announce` notes what is not here yet."""
        return path.exists() and (key != _TUNED or _digest(path.read_bytes()) == digest)

    def _store(self, key: str, data: bytes, seen: Mapping[str, tuple[str, str]]) -> str:
        """Write if the bucket still has what was seen, or has the same already; returns the ETag."""
        written = self._bucket.replace(key, data, seen[key][0]) if key in seen else self._bucket.create(key, data)
        found = self._bucket.get(key)
        if found is None or (not written and found[0] != data):
            raise PublishConflict(f"{key} was changed in {self._bucket.url} meanwhile; run it again")
        return found[1]

    def _remove_gone(self, there: Mapping[str, Entry], seen: dict[str, tuple[str, str]]) -> None:
        """Remove what another machine took away: a hold or a pin; a registration only leaves the list."""
        for key in [key for key in seen if key not in there]:
            if self._bucket.get(key) is not None:  # it is younger than the listing
                continue
            if not key.endswith(("/CURRENT", "/repository.json")):
                (self._home.root / key.removeprefix(f"{keys.STATE}/")).unlink(missing_ok=True)
                watched.note_change()
            del seen[key]

    def _write(self, path: Path, data: bytes) -> None:
        if path.name == "repository.json":  # with it the repository appears
            packs.ensure(RepositoryHome(path.parent).mirror, self._timeout_s)
        path.parent.mkdir(parents=True, exist_ok=True)
        pending = path.with_name(path.name + ".tmp")
        pending.touch(mode=0o600)  # a URL may hold a password
        pending.write_bytes(data)
        pending.replace(path)
        watched.note_change()

    @contextmanager
    def _seen(self) -> Iterator[dict[str, tuple[str, str]]]:
        """Key -> ETag, and digest or pointer; one process at a time, kept when the block ends, however it does."""
        with locked(self._home.root / "bucket.lock"):
            seen = self._load()
            try:
                yield seen
            finally:
                pending = self._file.with_suffix(".tmp")
                pending.write_text(json.dumps({"bucket": self._bucket.url, "seen": seen}))
                os.replace(pending, self._file)

    def _load(self) -> dict[str, tuple[str, str]]:
        try:
            stored = json.loads(self._file.read_text())
            if stored["bucket"] != self._bucket.url:
                return {}
            return {key: (str(tag), str(value)) for key, (tag, value) in stored["seen"].items()}
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # everything is read again
            return {}


def _is_announced(key: str) -> bool:
    """Whether the bucket hears of changes before they are made here."""
    return key.startswith(_ANNOUNCED)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
