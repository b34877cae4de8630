"""How fresh and how complete the served generations are, read from their manifests and the mirror."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cachetools import LRUCache

from codeintel_core.generations.generation import Generation
from codeintel_core.generations.library import Library
from codeintel_core.generations.manifest import NOT_CONFIGURED
from codeintel_core.repository.lag import Lag, lag
from codeintel_core.retrieval.engine import TUNING
from codeintel_core.telemetry import Status, note, step
from codeintel_serving.display import without_server_paths
from codeintel_serving.models import Coverage, IndexEntry

_STEP = "index.freshness"
_Status = Literal["fresh", "behind", "degraded"]
_MOST_NAMED = 20


class Freshness:
    """Index entries of pinned generations."""

    def __init__(self, library: Library, ttl_s: float) -> None:
        """`ttl_s`: how long a count of commits is kept; it costs two git processes, too much for every request."""
        self._library, self._ttl_s = library, ttl_s
        self._behind: LRUCache[str, tuple[Lag, float]] = LRUCache(1_000)  # by generation, with when it was counted
        # many answers have the same
        self._entries: LRUCache[tuple[str, str, Lag, _Status], IndexEntry] = LRUCache(1_000)
        self._counting = set[str]()
        self._lock = threading.Lock()

    def entry(self, generation: Generation) -> IndexEntry:
        """The index entry of one generation."""
        return self._entry(generation, self._lag(generation))

    def _entry(self, generation: Generation, behind: Lag) -> IndexEntry:
        manifest = generation.manifest
        status = _status(behind, self.problem(generation))
        key = (manifest.repo, manifest.gen_id, behind, status)
        with self._lock:
            known: IndexEntry | None = self._entries.get(key)
        if known is not None:
            return known
        found = IndexEntry(
            repo=manifest.repo,
            generation=manifest.gen_id,
            commit=manifest.commit,
            built_at=manifest.created_at.isoformat(timespec="seconds"),
            commits_behind=behind.commits,
            minutes_behind=behind.minutes,
            dagster_run_id=manifest.dagster_run_id,
            status=status,
        )
        with self._lock:
            self._entries[key] = found
        return found

    def entries(self, generations: Sequence[Generation]) -> list[IndexEntry]:
        """Index entries in the order of the generations."""
        with step(_STEP, repositories=len(generations)) as current:
            found = [self.entry(generation) for generation in generations]
            current.set(**_facts(generations, found))
        return found

    def known_entries(self, generations: Sequence[Generation]) -> list[IndexEntry] | None:
        """As `entries` when all of them are `known`, else None: counts nothing and makes no step."""
        found = []
        for generation in generations:
            behind = self.known(generation)
            if behind is None:
                return None
            found.append(self._entry(generation, behind))
        return found

    def note(self, generations: Sequence[Generation], known: Sequence[IndexEntry]) -> None:
        """The step of `entries`, which took no time since they were `known_entries`."""
        note(_STEP, Status.COMPLETED, repositories=len(generations), **_facts(generations, known))

    def known(self, generation: Generation) -> Lag | None:
        """The lag as it was last counted, None when it was not lately; counts nothing.

        While somebody counts again, what was counted before still serves the others.
        """
        with self._lock:
            return self._known(generation.manifest.gen_id)

    def _known(self, gen_id: str) -> Lag | None:
        found = self._behind.get(gen_id)
        if found is None:
            return None
        age_s = time.monotonic() - found[1]
        is_counting = gen_id in self._counting
        return found[0] if age_s <= self._ttl_s or (is_counting and age_s <= 2 * self._ttl_s) else None

    def problem(self, generation: Generation) -> str:
        """Why this generation is not all there could be, '' when it is."""
        refused = self._library.reader(generation.repo).problem
        return without_server_paths(refused or generation.lexical_error) or pending(generation)

    def _lag(self, generation: Generation) -> Lag:
        gen_id = generation.manifest.gen_id
        with self._lock:
            known = self._known(gen_id)
            if known is not None:
                return known
            self._counting.add(gen_id)
        try:
            found = lag(self._library.home, generation.repo, generation.manifest.commit)
            with self._lock:
                self._behind[gen_id] = found, time.monotonic()
        finally:
            with self._lock:
                self._counting.discard(gen_id)
        return found


def _facts(generations: Sequence[Generation], entries: Sequence[IndexEntry]) -> dict[str, Any]:
    """How far the worst of them is behind, for the step."""
    return {
        "commits_behind": max((entry.commits_behind or 0 for entry in entries), default=0),
        "minutes_behind": max((entry.minutes_behind or 0.0 for entry in entries), default=0.0),
        "secondary_ratio": max((round(g.manifest.counts.compaction_ratio, 4) for g in generations), default=0.0),
        "degraded": sum(entry.status == "degraded" for entry in entries),
    }


def _status(behind: Lag, problem: str) -> _Status:
    if problem:
        return "degraded"
    return "behind" if behind.is_behind else "fresh"


def pending(generation: Generation) -> str:
    """How much of the dense index is missing, '' when it is complete."""
    counts = generation.manifest.counts
    if not counts.is_dense_pending:
        return ""
    return f"dense: pending, {100 * counts.embedded // counts.chunks} % of the chunks of '{generation.repo}' embedded"


def sparse_state(generation: Generation, *, is_configured: bool) -> str:
    """What there is of the sparse index, in words."""
    facts = generation.manifest.sparse
    if not is_configured:
        return NOT_CONFIGURED
    if generation.sparse is None:
        why = generation.sparse_error
        return without_server_paths("a build adds it" if why == NOT_CONFIGURED else why)
    return f"{facts.documents} spans, model {facts.contract.model if facts.contract else ''}"


def coverage(
    generations: Sequence[Generation],
    degraded: Mapping[str, str],
    idle: Mapping[str, str] | None = None,
    left_out: Mapping[str, str] | None = None,
) -> Coverage:
    """What a request searched: repositories, files left out by reason, channels that did not complete or run."""
    skipped, masked = dict[str, int](), Counter[str]()
    for generation in generations:
        masked.update(generation.manifest.redacted)
        for reason, files in generation.manifest.coverage.items():
            if reason != "indexed":
                skipped[reason] = skipped.get(reason, 0) + files
    missing = "; ".join(filter(None, map(pending, generations)))
    if missing and "dense" not in degraded:
        degraded = {**degraded, "dense": missing}
    return Coverage(
        searched=[generation.repo for generation in generations],
        skipped=dict(sorted(skipped.items())),
        redacted=dict(masked),
        degraded={name: without_server_paths(reason) for name, reason in degraded.items()},
        idle=dict(idle or {}),
        left_out={name: without_server_paths(reason) for name, reason in (left_out or {}).items()},
    )


def problems(searched: Coverage) -> list[str]:
    """What should have taken part and did not, in words."""
    channels = [f"{name if name == TUNING else f'{name} channel'} {why}" for name, why in searched.degraded.items()]
    return [*channels, *_not_searched(searched)]


def _not_searched(searched: Coverage) -> list[str]:
    """Repositories that were left out, by reason; the first are named, all are in the coverage."""
    names: dict[str, list[str]] = {}
    for name, reason in searched.left_out.items():
        names.setdefault(reason, []).append(name)
    return [
        f"{len(some)} repositories were not searched ({reason}): {', '.join(some[:_MOST_NAMED])}"
        + (f" and {len(some) - _MOST_NAMED} more, all in coverage.left_out" if len(some) > _MOST_NAMED else "")
        for reason, some in names.items()
    ]


def warnings(entries: Sequence[IndexEntry], searched: Coverage) -> list[str]:
    """What the caller should know before relying on a result, in words."""
    return [*problems(searched), *delays(entries)]


def delays(entries: Sequence[IndexEntry]) -> list[str]:
    """What is served that is not the newest, or not all of it, in words."""
    found = []
    for entry in entries:
        if entry.commits_behind:
            found.append(f"the index of '{entry.repo}' is {entry.commits_behind} commits behind its mirror")
        elif entry.minutes_behind:
            found.append(f"the source of '{entry.repo}' has commits that are not indexed yet")
        if entry.status == "degraded":
            found.append(f"'{entry.repo}' is served degraded; `status` says why")
    return found
