"""Two tenants of one server: each has a key for its own repository, and canaries that the other must never meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from workshop import Workshop, new_repository

from codeintel_core.repository import mirror
from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission

EVERYTHING = tuple(Permission)


@dataclass(frozen=True)
class Tenant:
    """One tenant: its repository and group, its key, and words that exist only in its repository."""

    repo: str
    group: str
    key: str
    canary: str
    path: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never reach the other tenant."""
        return (self.repo, self.group, self.canary, self.path)


def _files(canary: str, path: str) -> dict[str, str]:
    text = f'def balance_{canary}(ledger):\n    """Add up {canary}."""\n    return sum(ledger)\n'
    return {path: text, "shared/common.py": "def balance(ledger):\n    return sum(ledger)\n"}


def two_tenants(workshop: Workshop, sources: Path) -> tuple[Tenant, Tenant]:
    """Build a repository for each and make their keys."""
    found = []
    for name in ("amber", "birch"):
        canary, path = f"{name}_canary", f"{name}_vault/{name}_ledger.py"
        source = new_repository(sources / name, _files(canary, path))
        mirror.add(workshop.home, str(source), name=f"{name}-repo", group=f"{name}-group")
        workshop.build(f"{name}-repo")
        secret, _ = keys.create(
            workshop.home.keys, permissions=EVERYTHING, repos=[f"{name}-*"], label=name, rate_limit="none"
        )
        found.append(Tenant(f"{name}-repo", f"{name}-group", secret, canary, path))
    return found[0], found[1]
