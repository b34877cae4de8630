"""The one place where the scope of a request becomes repositories and pinned generations.

Every tool goes through it, whatever its face: what a caller may see is decided here and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from codeintel_core.chunking.languages import LANGUAGES
from codeintel_core.deadline import Deadline
from codeintel_core.errors import (
    InvalidRequest,
    NotIndexed,
    StaleCursor,
    UnknownGeneration,
    UnknownRepository,
    UnknownScope,
)
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.library import Library, Pinned
from codeintel_core.home import unknown_repository
from codeintel_core.repository import groups
from codeintel_core.scope import Scope
from codeintel_core.telemetry import Status, note, step
from codeintel_serving.access.principal import Permission
from codeintel_serving.cursors import Cursor
from codeintel_serving.models import PagedRequest, ScopeModel, ToolRequest
from codeintel_serving.recording import Caller

_MOST_GROUPS = 20
_MOST_AT_ONCE = 50
_OPENING_SHARE = 0.5  # of the retrieval budget
_STEP = "scope.resolve"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one request sees, and where its page begins.

    Attributes:
        scope: the filters; its `repos` are those of `generations`, so that whatever is kept by scope is kept by what
            its caller could see.
        generations: one pinned generation per repository, in the order of the scope.
        cursor: the cursor the request came with, None for the first page.
        left_out: why a repository in the scope is not among them although it is indexed.
    """

    scope: Scope
    generations: list[Generation]
    cursor: Cursor | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """What there is to see, for the step."""
        return {
            "generations": len(self.generations),
            "left_out": len(self.left_out),
            "filtered": self.scope.filters_chunks,
            "paged": self.cursor is not None,
        }

    def note(self, asked: ScopeModel) -> None:
        """Record the step of what was resolved by `Resolver.pin_open`."""
        facts: dict[str, Any] = {**asked.facts(), **self.facts()}
        note(_STEP, Status.COMPLETED, **facts)


class Resolver:
    """Resolves scopes against one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def repositories(self, scope: ScopeModel, caller: Caller, permission: Permission = Permission.READ) -> list[str]:
        """Names of the repositories in the scope that the caller may see, all of them when it names none.

        Raises:
            Forbidden: the caller lacks the permission.
            UnknownRepository: a repository or group is not there, or not for this caller, in the same words; near
                names of repositories that the caller sees are offered.
        """
        caller.principal.require(permission)
        visible = caller.principal.visible(self._library.home.repository_names())
        names = list(scope.repos)
        for name in names:
            if name not in visible:
                raise unknown_repository(name, visible)
        if scope.groups:
            members = groups.members(self._library.home, visible)
            for group in scope.groups:
                if group not in members:
                    known = ", ".join(sorted(members)[:_MOST_GROUPS]) or "none"
                    raise UnknownRepository(f"there is no group '{group[:100]}' of repositories (groups: {known})")
                names += members[group]
        return list(dict.fromkeys(names)) if scope.repos or scope.groups else visible

    @contextmanager
    def pin(
        self,
        request: ToolRequest,
        caller: Caller,
        permission: Permission = Permission.READ,
        in_time: Deadline | None = None,
    ) -> Iterator[Resolved]:
        """Pin what the request sees until the end of the block; its handle was opened before (`Scopes.opened`).

        With `in_time`, repositories that are not open by then are left out and named (see `Library.pin_in_time`).

        Repositories named by the caller must be indexed; with groups, or without names, those that are not are left
        out.

        Raises:
            Forbidden: the caller lacks the permission.
            UnknownRepository, UnknownGeneration, NotIndexed, UnknownScope: it cannot be seen.
            InvalidRequest: a glob, language or cursor that cannot be meant.
            StaleCursor: the cursor's generations are gone.
        """
        with ExitStack() as pins:
            with step(_STEP, **request.scope.facts()) as current:
                if request.scope_id:
                    raise UnknownScope("a handle that was not opened")
                asked = request.scope
                scope = _checked(asked)
                names = self.repositories(asked, caller, permission)
                text = request.cursor if isinstance(request, PagedRequest) else ""
                cursor = Cursor.parse(text, request) if text else None
                left_out: Mapping[str, str] = {}
                if cursor is not None:
                    generations = self._pin_again(cursor, names, pins)
                else:  # repositories that were not named and have nothing to show are left out
                    is_open = bool(asked.groups) or not asked.repos
                    pin = self._library.pin_in_time(names, asked.as_of, in_time, only_kept=is_open)
                    pinned = pins.enter_context(pin) if names else _nothing()
                    generations, left_out = pinned.generations, pinned.left_out
                resolved = _resolved(scope, generations, cursor, left_out)
                current.set(**resolved.facts())
            yield resolved

    @contextmanager
    def pin_open(self, request: PagedRequest, caller: Caller) -> Iterator[Resolved | None]:
        """Pin what a first page of now sees, None when something would have to be opened first; records no step.

        It waits for nothing but the names of the registered repositories, and looks at few of those.

        Raises:
            CodeIntelError: as `pin`.
        """
        asked = request.scope
        if request.scope_id or request.cursor or asked.as_of or asked.groups:
            yield None
            return
        scope = _checked(asked)
        names = self.repositories(asked, caller)
        with ExitStack() as pins:
            generations = self._pin_open(names, pins, only_kept=not asked.repos)
            yield _resolved(scope, generations, None) if generations else None

    def _pin_open(self, names: Sequence[str], pins: ExitStack, *, only_kept: bool) -> list[Generation] | None:
        return self._library.pin_open(names, pins, only_kept=only_kept) if len(names) <= _MOST_AT_ONCE else None

    def _pin_again(self, cursor: Cursor, names: Sequence[str], pins: ExitStack) -> list[Generation]:
        """The generations of the cursor's first page."""
        pinned = []
        for name, gen_id in cursor.generations.items():
            try:
                if name not in names:
                    raise UnknownGeneration(name)
                generation = self._library.reader(name).acquire_as_of(gen_id)
            except (UnknownGeneration, UnknownRepository, InvalidRequest):
                raise StaleCursor("the generations of this cursor are gone; ask again without it") from None
            pins.callback(generation.release)
            pinned.append(generation)
        return pinned


def opening_deadline(budget_ms: float, until: Deadline | None = None) -> Deadline:
    """How long a search that begins now, with that budget of retrieval, may open what it finds closed."""
    left_s = budget_ms / 1000 if until is None else min(budget_ms / 1000, until.remaining_s)
    return Deadline.after(_OPENING_SHARE * left_s)


def _resolved(
    scope: Scope,
    generations: list[Generation],
    cursor: Cursor | None,
    left_out: Mapping[str, str] = MappingProxyType({}),
) -> Resolved:
    repos = tuple(generation.repo for generation in generations)
    return Resolved(replace(scope, repos=repos), generations, cursor, left_out)


def _nothing() -> Pinned:
    raise NotIndexed("nothing is indexed yet; run `codeintel add PATH_OR_URL` and `codeintel build NAME`")


def nearest(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest of the known names, '' when none is near."""
    near = difflib.get_close_matches(given[:100], list(dict.fromkeys(known)), n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _checked(asked: ScopeModel) -> Scope:
    for language in asked.languages:
        if language not in LANGUAGES:
            meant = nearest(language.lower(), LANGUAGES) or f"; known: {', '.join(sorted(LANGUAGES))}"
            raise InvalidRequest(f"unknown language {language[:50]!r}{meant}")
    return asked.as_scope()
