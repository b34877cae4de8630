"""From an asked scope to pinned generations: the one place that decides which repositories a caller gets to see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from codeintel_core.errors import NotIndexed, UnknownRepository
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import Library
from codeintel_core.home import Home, unknown_repository
from codeintel_core.repository import groups
from codeintel_core.scope import Scope
from codeintel_serving.access.principal import Principal
from codeintel_serving.models import ScopeModel


@dataclass(frozen=True, slots=True)
class Pinned:
    """What one request works on.

    Attributes:
        scope: the filters; its `repos` are those of `generations`, so that whatever is kept by scope is kept by the
            repositories its caller could see.
        generations: one of each repository, held until the request ends.
    """

    scope: Scope
    generations: list[Generation]


def visible(library: Library, principal: Principal) -> list[str]:
    """Names of the repositories that exist for the caller, sorted."""
    return principal.visible(library.home.repository_names())


@contextmanager
def pinned(library: Library, asked: ScopeModel, principal: Principal) -> Iterator[Pinned]:
    """Pin a generation of every repository that is asked for and exists for the caller.

    Repositories named by the caller must be indexed; with groups, or without names, those that are not are left out.

    Raises:
        InvalidRequest: a glob that cannot be meant.
        UnknownRepository: a repository or group that is not there, or not for this caller, in the same words.
        UnknownGeneration: `as_of` names nothing that is kept.
        NotIndexed: nothing to pin.
    """
    scope = asked.as_scope()
    names = repositories(asked, library.home, visible(library, principal))
    if not names:  # `Library.pin` takes no names for all
        raise NotIndexed("nothing is indexed yet; run `codeintel add PATH_OR_URL` and `codeintel build NAME`")
    with library.pin(names, asked.as_of, only_kept=bool(asked.groups) or not asked.repos) as generations:
        yield Pinned(replace(scope, repos=tuple(generation.repo for generation in generations)), generations)


def repositories(asked: ScopeModel, home: Home, seen: Sequence[str]) -> list[str]:
    """Names that the scope means among those the caller sees; raises `UnknownRepository`."""
    names = list(asked.repos)
    for name in names:
        if name not in seen:
            raise unknown_repository(name, seen)
    if asked.groups:
        members = groups.members(home, seen)
        for group in asked.groups:
            if group not in members:
                known = ", ".join(sorted(members)[:20]) or "none"
                raise UnknownRepository(f"there is no group '{group[:100]}' of repositories (groups: {known})")
            names += members[group]
    return list(dict.fromkeys(names)) if asked.repos or asked.groups else list(seen)
