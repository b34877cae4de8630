"""The one place where the scope of a request becomes repositories and pinned generations.

Every tool goes through it, whatever its face: what a caller may see is decided here and nowhere else.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from codeintel_core.chunking.languages import LANGUAGES
from codeintel_core.errors import (
    InvalidRequest,
    NotIndexed,
    StaleCursor,
    UnknownGeneration,
    UnknownRepository,
    UnknownScope,
)
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import Library
from codeintel_core.scope import Scope
from codeintel_core.telemetry import step
from codeintel_serving.cursors import Cursor
from codeintel_serving.models import PagedRequest, ScopeModel, ToolRequest
from codeintel_serving.recording import Caller

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Resolved:
    """What one request sees, and where its page begins.

    Attributes:
        scope: the filter inside repositories.
        generations: one pinned generation per repository, in the order of the scope.
        cursor: the cursor the request came with, None for the first page.
    """

    scope: Scope
    generations: list[Generation]
    cursor: Cursor | None = None


class Resolver:
    """Resolves scopes against one library."""

    def __init__(self, library: Library) -> None:
        self._library = library

    def scope_of(self, request: ToolRequest, caller: Caller) -> ScopeModel:  # noqa: ARG002 (a handle has an owner)
        """The scope that is meant, a handle opened; raises `UnknownScope`."""
        if request.scope_id:
            raise UnknownScope("no such scope, or it has expired; send `scope` instead")
        return request.scope

    def repositories(self, scope: ScopeModel, caller: Caller) -> list[str]:
        """Names of the repositories in the scope that the caller may see, all of them when it names none.

        Raises:
            UnknownRepository: a name is not among those; near names of those are offered.
        """
        visible = self._visible(caller)
        for name in scope.repos:
            if name not in visible:
                raise UnknownRepository(_unknown(name, visible))
        return list(dict.fromkeys(scope.repos)) or visible

    @contextmanager
    def pin(self, request: ToolRequest, caller: Caller) -> Iterator[Resolved]:
        """Pin what the request sees until the end of the block.

        Raises:
            UnknownRepository, UnknownGeneration, NotIndexed, UnknownScope: it cannot be seen.
            InvalidRequest: a glob, language or cursor that cannot be meant.
            StaleCursor: the cursor's generations are gone.
        """
        with ExitStack() as pins:
            with step("scope.resolve") as current:
                asked = self.scope_of(request, caller)
                scope = _checked(asked)
                names = self.repositories(asked, caller)
                text = request.cursor if isinstance(request, PagedRequest) else ""
                cursor = Cursor.parse(text, request) if text else None
                if cursor is not None:
                    generations = self._pin_again(cursor, names, pins)
                else:  # repositories that were not named and have nothing to show are left out
                    pin = self._library.pin(names, asked.as_of, only_kept=not asked.repos)
                    generations = pins.enter_context(pin) if names else _nothing()
                current.set(repositories=len(generations), filtered=scope.filters_chunks, paged=cursor is not None)
            yield Resolved(scope, generations, cursor)

    def _visible(self, caller: Caller) -> list[str]:  # noqa: ARG002 (who asks decides what there is)
        return self._library.home.repository_names()

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


def _nothing() -> list[Generation]:
    raise NotIndexed("nothing is indexed yet; run `codeintel add PATH_OR_URL` and `codeintel build NAME`")


def nearest(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` with the nearest of the known names, '' when none is near."""
    near = difflib.get_close_matches(given[:100], list(dict.fromkeys(known)), n=3)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _unknown(name: str, visible: Sequence[str]) -> str:
    more = f" and {len(visible) - _MOST_NAMED} more" if len(visible) > _MOST_NAMED else ""
    known = ", ".join(visible[:_MOST_NAMED]) or "none; run `codeintel add PATH_OR_URL`"
    return f"unknown repository {name[:100]!r}{nearest(name, visible)} (registered: {known}{more})"


def _checked(asked: ScopeModel) -> Scope:
    for language in asked.languages:
        if language not in LANGUAGES:
            meant = nearest(language.lower(), LANGUAGES) or f"; known: {', '.join(sorted(LANGUAGES))}"
            raise InvalidRequest(f"unknown language {language[:50]!r}{meant}")
    return asked.as_scope()
