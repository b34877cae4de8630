"""The home folder kept equal to its bucket: registrations and pointers, the served generations, then the older ones.

Whatever goes wrong, what is here keeps serving; `problem` says why it is not what the bucket has.
"""

from __future__ import annotations

import logging
import stat
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from codeintel_core.errors import CodeIntelError, GenerationCorrupt, UnknownGeneration
from codeintel_core.generations import leases, retention
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.publish import current_id, point_at_locked, publish_lock
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.objects import keys
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.download import Download
from codeintel_core.objects.followers import Follower
from codeintel_core.objects.let_go import alone, let_go
from codeintel_core.objects.shared_files import SharedFiles
from codeintel_core.objects.upload import served

_log = logging.getLogger("codeintel.replica")
_FIRST_RETRY_S, _LAST_RETRY_S = 10.0, 300.0  # doubled after every failure of a repository
_MOST_REASONS = 5
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class _Failure:
    tag: str  # of the pointer that could not be followed
    reason: str
    count: int
    retry_at: float


class Replica:
    """Follows a bucket into the home folder in front of it; several processes may follow into the same one.

    Attributes:
        bucket, home: what is followed, and where to.
        files: the small files that all machines have.
        has_more: whether the last look left an older generation for the next one.
    """

    def __init__(
        self, bucket: Bucket, home: Home, *, max_bytes: int, timeout_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        """`max_bytes`: what the repositories may take of the disk; the served generations come even so."""
        self.bucket, self.home = bucket, home
        self.files = SharedFiles(bucket, home, timeout_s)
        self._follower = Follower(bucket, home)
        self._max_bytes, self._timeout_s, self._clock = max_bytes, timeout_s, clock
        self._followed: dict[str, str] = {}  # repository -> ETag of the pointer whose generations are all here
        self._failed: dict[str, _Failure] = {}
        self._unreachable = "the bucket was not asked yet"
        self._over = ""
        self.has_more = False
        self._stopping = threading.Event()

    @property
    def problem(self) -> str:
        """Why the home is not what the bucket has, '' when it is."""
        failed = [failure.reason for failure in tuple(self._failed.values())]
        reasons = [self._unreachable, *failed, self._over, self._follower.problem]
        found = list(dict.fromkeys(filter(None, reasons)))
        more = f" and {len(found) - _MOST_REASONS} more" if len(found) > _MOST_REASONS else ""
        return "; ".join(found[:_MOST_REASONS]) + more

    def follow(self, refused: Collection[str] = ()) -> list[str]:
        """One look at the bucket: take over whatever moved; returns the repositories that now serve another generation.

        The served generations come first, then an older one of each repository (newest first, while there is room;
        `has_more` says whether there are others), so that no pointer that moves waits for them. What fails is a
        `problem`, and tried again after 10, 20, 40 … seconds, at most 5 minutes, or when its pointer moves. A served
        generation of `refused`, which a reader could not open, is downloaded again if its files are damaged.
        """
        self.has_more = False
        try:
            there, purge = self._look()
        except (CodeIntelError, OSError) as error:
            if self._unreachable != str(error):
                _log.warning("%s; what is here serves on", error)
            self._unreachable = str(error)
            return []
        self._unreachable = ""
        for name in refused:
            self._repair(self.home.repository(name))
        swapped = [name for name, (tag, gen_id) in there.items() if self._try(name, tag, gen_id)]
        if purge:
            self._carry_out(purge)
        self._failed = {name: failure for name, failure in self._failed.items() if name in there}
        moved = {name: tag for name, (tag, _) in there.items() if self._followed.get(name) != tag}
        for name in moved.keys() - self._failed.keys():
            try:
                if self._bring_older(name):
                    self.has_more = True
                else:
                    self._followed[name] = moved[name]
            except (CodeIntelError, OSError) as error:
                _log.warning("%s: older generations: %s", name, error)
        if moved or refused or self._over:  # what served before, and is not open any more, may go now
            self._make_room(0)
            self._over = self._too_large()
        return swapped

    def stop(self) -> None:
        """End what is being downloaded soon; what came of it is kept for the next process."""
        self._stopping.set()

    def follow_to_the_end(self) -> None:
        """`follow` until all generations that the bucket keeps are here, as far as there is room: for a command."""
        self.follow()
        while self.has_more:
            self.follow()

    def pull(self, name: str = "", *, generations: bool = True) -> None:
        """Take over the small files, and serve what the bucket serves now, of one repository or all: for a command.

        Raises:
            BucketUnavailable, GenerationCorrupt, StorageFailed: why it cannot be taken over.
        """
        there, purge = self._look()
        if purge:
            self._carry_out(purge)
        for repo, (_, gen_id) in there.items():
            if generations and name in ("", repo):
                self._serve(self.home.repository(repo), gen_id)

    def point(self, name: str) -> None:
        """Point where the bucket points, although that generation cannot be had: a build puts another in its place."""
        at, (gen_id, _) = self.home.repository(name), served(self.bucket, name)
        if gen_id is not None:
            with publish_lock(at):
                point_at_locked(at, gen_id)

    def _look(self) -> tuple[dict[str, tuple[str, str]], str]:
        """Take over the small files; what serves, as of `SharedFiles.pull`, and a purge that has to be carried out."""
        self._follower.sign_in()
        listed = self.bucket.list(keys.STATE)
        return self.files.pull(listed), self._follower.pending(listed)

    def _carry_out(self, purge: str) -> None:
        """Let go of what was purged, and say so once nobody on this machine has it open; else the next look does."""
        try:
            are_free = [let_go(self.bucket, self.home.repository(name)) for name in self.home.repository_names()]
            if all(are_free):
                self._follower.confirm(purge)
        except (CodeIntelError, OSError) as error:
            _log.warning("a purge is not carried out yet: %s", error)

    def _try(self, name: str, tag: str, gen_id: str) -> bool:
        before = self._failed.get(name)
        if before is not None and before.tag == tag and self._clock() < before.retry_at:
            return False
        try:
            swapped = self._serve(self.home.repository(name), gen_id)
        except (CodeIntelError, OSError) as error:
            count = before.count + 1 if before is not None and before.tag == tag else 1
            wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(count - 1, 20))
            reason = f"{error} (failed {count} times; tried again after {wait_s:.0f} s)"
            self._failed[name] = _Failure(tag, reason, count, self._clock() + wait_s)
            _log.error("%s: %s", name, error)
            return False
        self._failed.pop(name, None)
        return swapped

    def _serve(self, at: RepositoryHome, gen_id: str) -> bool:
        """Serve on this machine what the bucket's pointer names; returns whether that is another than before."""
        if current_id(at) == gen_id and gen_id in kept(at):
            return False
        with alone(at):
            if gen_id not in kept(at):
                download = Download(self.bucket, at, gen_id, self._timeout_s, self._stopping)
                self._make_room(download.missing_bytes)
                download.run()
            with publish_lock(at):  # a publish on this machine moves the bucket's pointer under the same lock
                if served(self.bucket, at.name)[0] != gen_id:
                    return False  # it moved on meanwhile: the next look follows it
                if current_id(at) == gen_id:
                    return True
                point_at_locked(at, gen_id)
        _log.info("%s: the bucket serves %s", at.name, gen_id)
        return True

    def _bring_older(self, name: str) -> bool:
        """Download the newest older generation that is missing, if there is room, and let go of those that the bucket
        dropped; returns whether there may be another.
        """
        at = self.home.repository(name)
        there = keys.complete(self.bucket.list(keys.generations(name)))
        with alone(at):
            self._evict(at, [gen_id for gen_id in kept(at) if gen_id not in there])
            for gen_id in sorted(there.keys() - set(kept(at)), reverse=True):
                try:
                    download = Download(self.bucket, at, gen_id, self._timeout_s, self._stopping)
                    if self._size_bytes() + download.missing_bytes > self._max_bytes:
                        return False
                    download.run()
                except UnknownGeneration:  # collected meanwhile
                    continue
                except GenerationCorrupt as error:  # nobody serves it; who asks for it hears that it is not kept
                    _log.warning("%s: %s", name, error)
                    continue
                return True
        return False

    def _repair(self, at: RepositoryHome) -> None:
        """Remove the served generation from this machine if it is damaged: the bucket has it."""
        folder = at.generation(current_id(at) or "none")
        if not folder.is_dir():
            return
        try:
            manifests.verify(folder, manifests.load(folder))
        except GenerationCorrupt as error:
            _log.warning("%s: %s; it is downloaded again", at.name, error)
            with publish_lock(at):
                retention.set_aside(at, [folder])
            retention.clear_doomed(at)

    def _make_room(self, wanted_bytes: int) -> None:
        """Remove older generations of any repository, oldest first, until `wanted_bytes` fit."""
        names = self.home.repository_names()
        oldest = sorted((gen_id, name) for name in names for gen_id in kept(self.home.repository(name)))
        for gen_id, name in oldest:
            if self._size_bytes() + wanted_bytes <= self._max_bytes:
                return
            self._evict(self.home.repository(name), [gen_id])

    def _evict(self, at: RepositoryHome, gen_ids: Sequence[str]) -> None:
        """Remove generations from this machine that are neither served, nor pinned, nor open in any process."""
        with publish_lock(at):
            spared = {current_id(at), *retention.pinned(at), *leases.leased(at)}
            retention.set_aside(at, [at.generation(gen_id) for gen_id in gen_ids if gen_id not in spared])
        retention.clear_doomed(at)

    def _size_bytes(self) -> int:
        """What the repositories take of the disk; files that generations share count once."""
        sizes: dict[tuple[int, int], int] = {}
        for path in self.home.repos.rglob("*"):
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = path.lstat()
                if stat.S_ISREG(status.st_mode):
                    sizes[status.st_dev, status.st_ino] = status.st_size
        return sum(sizes.values())

    def _too_large(self) -> str:
        size = self._size_bytes()
        if size <= self._max_bytes:
            return ""
        return (
            f"the repositories take {size / _GIB:.2f} GiB, more than CODEINTEL_HOME_CACHE_GIB "
            f"({self._max_bytes / _GIB:.2f}): what serves or is open does not fit"
        )
