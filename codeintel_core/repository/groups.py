"""Groups of repositories by name, as their registrations say: scopes name them, and share a freshness target."""

from __future__ import annotations

from collections.abc import Iterable

from codeintel_core.errors import UnknownRepository
from codeintel_core.home import Home
from codeintel_core.repository import mirror


def members(home: Home, repos: Iterable[str]) -> dict[str, list[str]]:
    """Group -> those of `repos` that are in it; repositories without a group are left out."""
    found: dict[str, list[str]] = {}
    for name in repos:
        try:
            group = mirror.registration(home, name).group
        except UnknownRepository:  # just removed
            continue
        if group:
            found.setdefault(group, []).append(name)
    return found
