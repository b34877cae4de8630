"""How fresh and how complete the served generations are, read from their manifests and the mirror."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from cachetools import TTLCache

from codeintel_core.errors import CodeIntelError
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.reader import Library
from codeintel_core.repository import mirror
from codeintel_core.repository.git import GitRepository
from codeintel_serving.display import without_server_paths
from codeintel_serving.models import Coverage, IndexEntry


class Freshness:
    """Index entries of pinned generations."""

    def __init__(self, library: Library, ttl_s: float) -> None:
        """`ttl_s`: how long a count of commits is kept; it costs two git processes, too much for every request."""
        self._library = library
        self._behind: TTLCache[str, int | None] = TTLCache(1_000, ttl_s)
        self._lock = threading.Lock()

    def entry(self, generation: Generation) -> IndexEntry:
        """The index entry of one generation."""
        manifest, behind = generation.manifest, self._commits_behind(generation)
        status = "degraded" if self.problem(generation) else "behind" if behind else "fresh"
        return IndexEntry(
            repo=manifest.repo,
            generation=manifest.gen_id,
            commit=manifest.commit,
            built_at=manifest.created_at.isoformat(timespec="seconds"),
            commits_behind=behind,
            dagster_run_id=manifest.dagster_run_id,
            status=status,
        )

    def entries(self, generations: Sequence[Generation]) -> list[IndexEntry]:
        """Index entries in the order of the generations."""
        return [self.entry(generation) for generation in generations]

    def problem(self, generation: Generation) -> str:
        """Why this generation is not all there could be, '' when it is."""
        refused = self._library.reader(generation.repo).problem
        return without_server_paths(refused or generation.lexical_error)

    def _commits_behind(self, generation: Generation) -> int | None:
        gen_id = generation.manifest.gen_id
        with self._lock:
            if gen_id in self._behind:
                known: int | None = self._behind[gen_id]
                return known
        home = self._library.home
        try:
            head = mirror.head(home, generation.repo)
            counted = GitRepository(home.repository(generation.repo).mirror).commits_between(
                generation.manifest.commit, head
            )
        except CodeIntelError:
            counted = None
        with self._lock:
            self._behind[gen_id] = counted
        return counted


def coverage(generations: Sequence[Generation], degraded: Mapping[str, str]) -> Coverage:
    """What a request searched: repositories, files left out by reason, channels that did not complete."""
    skipped: dict[str, int] = {}
    for generation in generations:
        for reason, files in generation.manifest.coverage.items():
            if reason != "indexed":
                skipped[reason] = skipped.get(reason, 0) + files
    return Coverage(
        searched=[generation.repo for generation in generations],
        skipped=dict(sorted(skipped.items())),
        degraded={name: without_server_paths(reason) for name, reason in degraded.items()},
    )


def warnings(entries: Sequence[IndexEntry], searched: Coverage) -> list[str]:
    """What the caller should know before relying on a result, in words."""
    found = [f"{name} channel {reason}" for name, reason in searched.degraded.items()]
    for entry in entries:
        if entry.commits_behind:
            found.append(f"the index of '{entry.repo}' is {entry.commits_behind} commits behind its mirror")
        if entry.status == "degraded":
            found.append(f"'{entry.repo}' is served degraded; `status` says why")
    return found
