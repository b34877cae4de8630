"""Readers pin one generation per repository for a whole request; new ones are opened beside the old and swapped."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from codeintel_core.errors import CodeIntelError, GenerationCorrupt, NotIndexed, UnknownRepository
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home, RepositoryHome

_log = logging.getLogger("codeintel.reader")


class RepositoryReader:
    """The served generation of one repository."""

    def __init__(self, home: RepositoryHome, *, verify: bool = True) -> None:
        self._home = home
        self._verify = verify
        self._serving: Generation | None = None
        self._refused = ""
        self._lock = threading.Lock()  # one refresh at a time
        self.problem = ""  # why CURRENT is not the one that serves; '' when it is

    def refresh(self) -> bool:
        """Open CURRENT if it moved and swap it in; a generation that fails to open leaves the old one serving.

        At the first refresh there is no old one: then the newest ancestor that opens serves. True when swapped.
        """
        with self._lock:
            wanted = current_id(self._home)
            serving = self._serving
            if wanted is None or wanted == self._refused:
                return False
            if serving is not None and wanted == serving.manifest.gen_id:
                self.problem = self._refused = ""  # rolled back from one that could not be opened
                return False
            opened, problem = self._open_first([wanted] if serving else self._lineage(wanted))
            self.problem = problem
            self._refused = wanted if problem else ""
            if opened is None:
                return False
            self._serving = opened
            if serving is not None:
                serving.retire()
            return True

    def acquire(self) -> Generation:
        """Pin the served generation; the caller must `release` it. Raises `NotIndexed` or why none can serve."""
        if self._serving is None:
            self.refresh()
        while (serving := self._serving) is not None:
            if serving.acquire():
                return serving
        if self.problem:
            raise GenerationCorrupt(self.problem)
        raise NotIndexed(f"'{self._home.name}' has no published generation; run `codeintel build {self._home.name}`")

    def close(self) -> None:
        """Retire the served generation."""
        with self._lock:
            if self._serving is not None:
                self._serving.retire()
                self._serving = None

    def _open_first(self, gen_ids: Sequence[str]) -> tuple[Generation | None, str]:
        problem = ""
        for gen_id in gen_ids:
            try:
                folder = self._home.generation(gen_id)
                return Generation.open(folder, self._home.mirror, verify=self._verify), problem
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


class Library:
    """All repositories of a home, each with its reader."""

    def __init__(self, home: Home, *, verify: bool = True) -> None:
        self.home = home
        self._verify = verify
        self._readers: dict[str, RepositoryReader] = {}
        self._lock = threading.Lock()

    def reader(self, name: str) -> RepositoryReader:
        """The reader of a registered repository; raises `UnknownRepository`."""
        with self._lock:
            if name not in self._readers:
                if name not in self.home.repository_names():
                    known = ", ".join(self.home.repository_names()) or "none; run `codeintel add PATH_OR_URL`"
                    raise UnknownRepository(f"no repository '{name[:100]}' is registered (registered: {known})")
                self._readers[name] = RepositoryReader(self.home.repository(name), verify=self._verify)
            return self._readers[name]

    def refresh(self) -> list[str]:
        """Look for new generations of every repository; returns the names of those swapped."""
        return [name for name in self.home.repository_names() if self.reader(name).refresh()]

    @contextmanager
    def pin(self, names: Sequence[str]) -> Iterator[list[Generation]]:
        """Pin one generation of each repository (of all that have one when `names` is empty) for a request.

        Raises:
            UnknownRepository: a name is not registered.
            NotIndexed: nothing to pin.
        """
        with ExitStack() as stack:
            pinned: list[Generation] = []
            for name in dict.fromkeys(names) if names else self.home.repository_names():
                try:
                    generation = self.reader(name).acquire()
                except NotIndexed:
                    if names:
                        raise
                    continue
                stack.callback(generation.release)
                pinned.append(generation)
            if not pinned:
                raise NotIndexed("nothing is indexed yet; run `codeintel add PATH_OR_URL` and `codeintel build NAME`")
            yield pinned

    def close(self) -> None:
        """Retire every served generation."""
        for reader in self._readers.values():
            reader.close()


def kept(home: RepositoryHome) -> list[str]:
    """Ids of all published generations, oldest first."""
    return sorted(p.parent.name for p in home.generations.glob(f"*/{manifests.FILE_NAME}"))
