"""All repositories of a home: which of them are open, and what a request pins of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from codeintel_core.deadline import Deadline
from codeintel_core.errors import (
    CodeIntelError,
    DeadlineExceeded,
    GenerationCorrupt,
    InvalidName,
    InvalidRequest,
    NotIndexed,
    UnknownGeneration,
)
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.open_set import OpenSet, affordable
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import RepositoryReader
from codeintel_core.home import Home, unknown_repository
from codeintel_core.indexes.gpu import Wanted

_NOT_IN_TIME = "not open yet, and there was no time to open it"


@dataclass(frozen=True, slots=True)
class Pinned:
    """What one request has pinned, in the order of the names, and why it does without the others."""

    generations: list[Generation]
    left_out: dict[str, str]
    """Reason by repository: those that were not open and could not be opened in time, or without closing others."""


class Library:
    """All repositories of a home, each with its reader.

    Attributes:
        open_set: which of them are open, and how many may be.
    """

    def __init__(self, home: Home, *, verify: bool = True, device: Wanted = "cpu", most_open: int = 1_000) -> None:
        """At most `most_open` repositories stay open, fewer when the process may not open that many files."""
        self.home = home
        self.open_set = OpenSet(affordable(most_open))
        self._verify = verify
        self._device = device
        self._readers: dict[str, RepositoryReader] = {}
        self._lock = threading.Lock()

    def reader(self, name: str) -> RepositoryReader:
        """The reader of a registered repository; raises `UnknownRepository`."""
        with self._lock:
            if name not in self._readers:
                if not self._is_registered(name):
                    raise unknown_repository(name, self.home.repository_names())
                self._readers[name] = RepositoryReader(
                    self.home.repository(name), verify=self._verify, device=self._device, open_set=self.open_set
                )
            return self._readers[name]

    def _is_registered(self, name: str) -> bool:
        try:
            return self.home.repository(name).registration.exists()
        except InvalidName:
            return False

    def refresh(self) -> list[str]:
        """`refreshed`, all at once."""
        return list(self.refreshed())

    def refreshed(self, names: Sequence[str] = (), deadline: Deadline | None = None) -> Iterator[str]:
        """Look for new generations, and open what is not open while there is room; the names of those swapped.

        With `names` these are opened whether there is room or not. After the deadline only what is open is looked at.
        """
        for name in names or self.home.repository_names():
            reader = self.reader(name)
            may_open = bool(names) or (self.open_set.has_room and not (deadline and deadline.is_over))
            if (reader.serving is not None or may_open) and reader.refresh():
                yield name

    def serving(self) -> list[Generation]:
        """What is open now, by repository; nothing is opened or pinned, so look only at facts that outlive it."""
        with self._lock:
            readers = sorted(self._readers.items())
        return [generation for _, reader in readers if (generation := reader.serving) is not None]

    def is_open(self, name: str) -> bool:
        """Whether a registered repository is open now."""
        return self.reader(name).serving is not None

    def problems(self) -> list[str]:
        """Why what was opened is not what should serve, by repository."""
        with self._lock:
            readers = sorted(self._readers.items())
        return [reader.problem for _, reader in readers if reader.problem]

    @contextmanager
    def pin(self, names: Sequence[str], as_of: str = "", *, only_kept: bool = False) -> Iterator[list[Generation]]:
        """`pin_in_time` for as long as it takes, with none left out.

        Raises:
            InvalidRequest: they are more than may be open; else as `pin_in_time`.
        """
        with self.pin_in_time(names, as_of, None, only_kept=only_kept) as pinned:
            yield pinned.generations

    @contextmanager
    def pin_in_time(
        self, names: Sequence[str], as_of: str, deadline: Deadline | None, *, only_kept: bool = False
    ) -> Iterator[Pinned]:
        """Pin one generation of each repository (of all that have one when `names` is empty) for a request.

        `as_of` asks for an older generation; without `names`, or with `only_kept`, of the repositories that keep one
        for it: the others are left out. What is not open is opened in the order of the names until the deadline (the
        first one always), and no more than may be open at once. What was not named and cannot be opened is left out
        too.

        Raises:
            UnknownRepository: a name is not registered.
            UnknownGeneration: `as_of` names nothing that is kept.
            GenerationCorrupt: one that was named cannot be opened, or none can, or one when there is no deadline.
            NotIndexed: nothing to pin.
            InvalidRequest: without a deadline, they are more than may be open.
        """
        wanted = list(dict.fromkeys(names)) if names else self.home.repository_names()
        most = self.open_set.most
        if deadline is None and len(wanted) > most:
            raise InvalidRequest(
                f"{len(wanted)} repositories are in the scope, and {most} may be open at once "
                "(CODEINTEL_OPEN_GENERATIONS); name fewer in scope.repos or scope.groups"
            )
        found: dict[str, Generation] = {}
        left_out = dict.fromkeys(wanted[most:], f"more than the {most} that may be open at once")
        failed: CodeIntelError | None = None
        must_all = bool(names) and not only_kept
        with ExitStack() as stack:
            stack.callback(self.open_set.trim)  # last: when nothing is in use any more
            readers = {name: self.reader(name) for name in wanted[:most]}
            if not as_of:  # what is open costs nothing, so it comes before what must be opened
                for name, reader in readers.items():
                    if (generation := reader.acquire_open()) is not None:
                        stack.callback(generation.release)
                        found[name] = generation
            for name, reader in readers.items():
                if name in found:
                    continue
                if deadline is not None and deadline.is_over and found:
                    left_out[name] = _NOT_IN_TIME
                    continue
                try:
                    generation = reader.acquire_as_of(as_of) if as_of else reader.acquire(deadline if found else None)
                except DeadlineExceeded:
                    left_out[name] = _NOT_IN_TIME
                    continue
                except (NotIndexed, UnknownGeneration, GenerationCorrupt) as error:
                    is_broken = isinstance(error, GenerationCorrupt)
                    if must_all or (is_broken and deadline is None):
                        raise
                    if is_broken:
                        left_out[name] = str(error)
                    if not isinstance(error, NotIndexed):
                        failed = error
                    continue
                stack.callback(generation.release)
                found[name] = generation
            if not found and failed is not None:
                raise failed
            if not found:
                raise NotIndexed("nothing is indexed yet; run `codeintel add PATH_OR_URL` and `codeintel build NAME`")
            yield Pinned([found[name] for name in readers if name in found], left_out)

    def pin_open(self, names: Sequence[str], pins: ExitStack, *, only_kept: bool = False) -> list[Generation] | None:
        """Pin what serves of each repository until `pins` closes; None when one would have to be opened first.

        `only_kept` leaves out those that have published nothing.

        Raises:
            UnknownRepository: a name is not registered.
        """
        pinned: list[Generation] = []
        for name in names:
            reader = self.reader(name)
            if reader.serving is None and only_kept and current_id(self.home.repository(name)) is None:
                continue
            if (serving := reader.acquire_open()) is None:
                return None
            pins.callback(serving.release)
            pinned.append(serving)
        return pinned

    def close(self) -> None:
        """Retire every served generation."""
        for reader in self._readers.values():
            reader.close()
