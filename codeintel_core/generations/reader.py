"""Readers pin one generation per repository for a whole request; new ones are opened beside the old and swapped."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from codeintel_core.deadline import Deadline
from codeintel_core.errors import (
    CodeIntelError,
    DeadlineExceeded,
    GenerationCorrupt,
    NotIndexed,
    UnknownGeneration,
)
from codeintel_core.generations import as_of as as_of_names
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.open_set import OpenSet
from codeintel_core.generations.publish import current_id
from codeintel_core.home import RepositoryHome
from codeintel_core.indexes.gpu import Wanted

_log = logging.getLogger("codeintel.reader")
_FIRST_RETRY_S, _LAST_RETRY_S = 2.0, 300.0  # doubled after every failure; opening again reads every file
_OLD_OPEN = 4  # generations besides the served one that stay open for questions about the past


class RepositoryReader:
    """The served generation of one repository."""

    def __init__(
        self, home: RepositoryHome, *, verify: bool = True, device: Wanted = "cpu",
        clock: Callable[[], float] = time.monotonic, open_set: OpenSet | None = None,
    ) -> None:  # fmt: skip
        """`open_set` may close what nobody uses; it is opened again when it is asked for."""
        self._home = home
        self._open_set = open_set or OpenSet(1)
        self._clock = clock
        self._verify = verify
        self._device = device
        self._serving: Generation | None = None
        self._is_closed_for_room = False
        self._refused = ""  # the generation that could not be opened
        self._failures = 0  # in a row, of that one
        self._retry_at = 0.0
        self._lock = threading.Lock()  # one refresh at a time
        self._old: OrderedDict[str, Generation] = OrderedDict()  # the last used at the end
        self._old_lock = threading.Lock()
        self.problem = ""  # why CURRENT is not the one that serves; '' when it is

    def refresh(self) -> bool:
        """Open CURRENT if it moved and swap it in; a generation that fails to open leaves the old one serving.

        At the first refresh there is no old one: then the newest ancestor that opens serves. What failed is tried again
        after 2, 4, 8 … seconds, at most 5 minutes, since a reason may pass (memory, descriptors, a lost mount). True
        when swapped. A generation that was dropped on purpose is let go of, also when no other takes its place.
        """
        with self._lock:
            return self._refreshed()

    def _refreshed(self) -> bool:
        """`refresh`, under the lock."""
        self._let_go_of_dropped()
        wanted = current_id(self._home)
        serving = self._serving
        if wanted is None or (wanted == self._refused and self._clock() < self._retry_at):
            self._let_go_of_purged()
            return False
        if serving is not None and wanted == serving.manifest.gen_id:
            self._note(wanted, "")  # rolled back from one that could not be opened
            return False
        opened, problem = self._open_first([wanted] if serving else self._lineage(wanted))
        self._note(wanted, problem)
        if opened is None:
            self._let_go_of_purged()
            return False
        self._serving, self._is_closed_for_room = opened, False
        self._open_set.opened(self._home.name, self._close_unused)
        if serving is not None:
            serving.retire()
        return True

    @property
    def serving(self) -> Generation | None:
        """What serves now, not pinned."""
        return self._serving

    def acquire(self, deadline: Deadline | None = None) -> Generation:
        """Pin the served generation, opening it if need be; the caller must `release` it.

        Raises:
            NotIndexed: nothing is published.
            GenerationCorrupt: why none can serve.
            DeadlineExceeded: another thread was still opening it.
        """
        found = self.acquire_open() or self._acquire_opened(deadline)
        if found is not None:
            return found
        if self.problem:
            raise GenerationCorrupt(self.problem)
        raise NotIndexed(f"'{self._home.name}' has no published generation; run `codeintel build {self._home.name}`")

    def acquire_open(self) -> Generation | None:
        """Pin the served generation if it is open."""
        while (serving := self._serving) is not None:
            if serving.acquire():
                self._open_set.used(self._home.name)
                return serving
        return None

    def _acquire_opened(self, deadline: Deadline | None) -> Generation | None:
        if not self._lock.acquire(timeout=-1 if deadline is None else deadline.remaining_s):
            raise DeadlineExceeded(f"'{self._home.name}' is still being opened")
        try:  # pinned under the lock, so that it is not closed before it is used
            if self._serving is None:
                self._refreshed()
            return self.acquire_open()
        finally:
            self._lock.release()

    def _close_unused(self) -> bool:
        """Close what serves unless it is in use, being opened or not what should serve; False when it stays open."""
        if self.problem or not self._lock.acquire(blocking=False):
            return False
        try:
            serving = self._serving
            if serving is None or not serving.retire_unused():
                return False
            self._serving, self._is_closed_for_room = None, True
            return True
        finally:
            self._lock.release()

    def published(self) -> Manifest:
        """The manifest of what is open, else of CURRENT, whose files are not looked at.

        Raises:
            NotIndexed: nothing is published.
            GenerationCorrupt: the manifest is damaged, or why nothing can serve.
        """
        if (serving := self._serving) is not None:
            return serving.manifest
        if self.problem:
            raise GenerationCorrupt(self.problem)
        if (gen_id := current_id(self._home)) is None:
            raise NotIndexed(
                f"'{self._home.name}' has no published generation; run `codeintel build {self._home.name}`"
            )
        return manifests.load(self._home.generation(gen_id))

    def acquire_as_of(self, when: str) -> Generation:
        """Pin the kept generation that `when` names (see `as_of.resolve`); the caller must `release` it.

        Raises:
            UnknownGeneration: none is kept for it.
            GenerationCorrupt: its files are not what was published.
        """
        gen_id = as_of_names.resolve(self._home, when)
        if self._is_closed_for_room and gen_id == current_id(self._home):  # not a past one
            return self.acquire()
        serving = self._serving
        if serving is not None and serving.manifest.gen_id == gen_id and serving.acquire():
            return serving
        with self._old_lock:
            if gen_id not in self._old:
                self._old[gen_id] = self._open_old(gen_id)
            self._old.move_to_end(gen_id)
            found = self._old[gen_id]
            found.acquire()
            while len(self._old) > _OLD_OPEN:
                self._old.popitem(last=False)[1].retire()
            return found

    def close(self) -> None:
        """Retire the served generation and the old ones that are open."""
        with self._old_lock:
            while self._old:
                self._old.popitem()[1].retire()
        with self._lock:
            if self._serving is not None:
                self._serving.retire()
                self._serving = None
                self._open_set.closed(self._home.name)

    def _let_go_of_dropped(self) -> None:
        serving = self._serving
        if serving is not None and current_id(self._home) is None:  # purged, and nothing clean was left
            self._serving = None
            serving.retire()
            self._open_set.closed(self._home.name)
        with self._old_lock:
            for gen_id in [gen_id for gen_id in self._old if not self._home.generation(gen_id).is_dir()]:
                self._old.pop(gen_id).retire()

    def _let_go_of_purged(self) -> None:
        """Stop serving a generation that was removed although it is open; a home that is not there removes nothing."""
        serving = self._serving
        if serving is None or not self._home.generations.is_dir():
            return
        if not self._home.generation(serving.manifest.gen_id).is_dir():
            self._serving = None
            serving.retire()
            self._open_set.closed(self._home.name)

    def _note(self, wanted: str, problem: str) -> None:
        """Remember why `wanted` cannot be opened and when it is tried again; '' when it can."""
        self._failures = 0 if not problem else self._failures + 1 if wanted == self._refused else 1
        self._refused = wanted if problem else ""
        if problem:
            wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self._failures - 1, 20))
            self._retry_at = self._clock() + wait_s
            problem += f" (failed {self._failures} times; tried again after {wait_s:.0f} s)"
        self.problem = problem

    def _open(self, gen_id: str) -> Generation:
        folder = self._home.generation(gen_id)
        return Generation.open(folder, self._home.mirror, verify=self._verify, device=self._device)

    def _open_old(self, gen_id: str) -> Generation:
        try:
            return self._open(gen_id)
        except (GenerationCorrupt, OSError):
            if self._home.generation(gen_id).is_dir():
                raise
            raise UnknownGeneration(f"generation {gen_id} of '{self._home.name}' was just removed") from None

    def _open_first(self, gen_ids: Sequence[str]) -> tuple[Generation | None, str]:
        problem = ""
        for gen_id in gen_ids:
            try:
                return self._open(gen_id), problem
            except Exception as error:  # whatever is wrong with it, another one serves and readiness says why
                why = str(error)
                if not isinstance(error, CodeIntelError):
                    why = f"generation {gen_id} cannot be opened: {type(error).__name__}: {error}"
                _log.error("%s: %s", self._home.name, why)
                problem = problem or why
        return None, problem

    def _lineage(self, gen_id: str) -> list[str]:
        """`gen_id`, then the other generations kept, newest first (ids sort by time)."""
        kept = sorted((p.name for p in self._home.generations.glob("*") if p.name < gen_id), reverse=True)
        return [gen_id, *kept]


def kept(home: RepositoryHome) -> list[str]:
    """Ids of all published generations, oldest first."""
    return sorted(p.parent.name for p in home.generations.glob(f"*/{manifests.FILE_NAME}"))
