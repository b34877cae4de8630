"""Who asks: permissions and the repositories that exist for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from codeintel_core.errors import Forbidden


class Permission(StrEnum):
    """What a key may do; none contains another."""

    READ = "read"
    """Search, read, list, scopes, status, feedback."""
    ANSWER = "answer"
    TELEMETRY = "telemetry"
    """Metrics, reasons of readiness, reports of runs."""
    ADMIN = "admin"
    """Reload, roll back, pin."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose identity was checked.

    Attributes:
        id: id of the key, or `local` for who reaches the server without one.
        repos: globs (`*`, `?`) over names of repositories; the others do not exist for this caller.
        rate_limit: such as `600/minute`; '' for the server's own.
    """

    id: str
    permissions: frozenset[Permission]
    repos: tuple[str, ...]
    rate_limit: str = ""

    def sees(self, repo: str) -> bool:
        """Whether the repository exists for this caller."""
        return any(fnmatchcase(repo, glob) for glob in self.repos)

    def visible(self, repos: Iterable[str]) -> list[str]:
        """Those of the repositories that exist for this caller, in their order."""
        return list(repos) if "*" in self.repos else [repo for repo in repos if self.sees(repo)]

    def may_see(self, repos: frozenset[str]) -> bool:
        """Whether it may know of a run that touched these repositories; of one that touched none, who sees all may."""
        return all(map(self.sees, repos)) and (bool(repos) or "*" in self.repos)

    @property
    def watches_all(self) -> bool:
        """Whether it may see what is told of all repositories together: metrics, reasons of readiness."""
        return Permission.TELEMETRY in self.permissions and "*" in self.repos

    def require_all(self) -> None:
        """Raise `Forbidden` unless it `watches_all`."""
        self.require(Permission.TELEMETRY)
        if not self.watches_all:
            raise Forbidden("this names all repositories: it needs a key for '*'", Permission.TELEMETRY.value)

    def require(self, permission: Permission) -> None:
        """Raise `Forbidden` without the permission."""
        if permission not in self.permissions:
            raise Forbidden(f"this needs a key with the permission '{permission}'", permission.value)


LOCAL = Principal("local", frozenset(Permission), ("*",))
"""Who runs the command line, or reaches a server that has no keys (which listens on this machine only)."""

ANONYMOUS = Principal("anonymous", frozenset(), ())
"""Who gives no key to a server that has keys; only public pages and health answer."""
