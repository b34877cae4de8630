"""Results, kept by generation, tuning, scope and purge list: the same question of the same index has the same hits."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from codeintel_core.deadline import Deadline
from codeintel_core.generations.generation import Generation
from codeintel_core.memo import AS_BYTES, Memo
from codeintel_core.retrieval.engine import SearchEngine, SearchResult
from codeintel_core.retrieval.modes import Mode
from codeintel_core.scope import Scope
from codeintel_core.telemetry import Status, note

Index = tuple[tuple[str, ...], str, Scope, Hashable]
"""What was searched: ids of the generations, id of the tuning, scope with the repositories that the caller sees, and
the purge list by which it was masked (`CurrentList.stamp`).
"""
_Key = tuple[Index, Mode, int, int | None, str]


class CachedSearch:
    """Searches through the engine, or gives what it found before; only whole results are kept."""

    def __init__(
        self, engine: SearchEngine, entries: int, budget_s: float, purge_stamp: Callable[[], Hashable]
    ) -> None:
        """`purge_stamp` is asked for every search, so that a purge counts as soon as it is seen."""
        self._engine, self._budget_s, self._purge_stamp = engine, budget_s, purge_stamp
        self._memo: Memo[_Key, SearchResult] = Memo("results", entries, AS_BYTES)

    def index(self, generations: Sequence[Generation], scope: Scope) -> Index:
        """What a search would be kept under besides its question: with anything else in it, it is searched anew."""
        gen_ids = tuple(generation.manifest.gen_id for generation in generations)
        return gen_ids, self._engine.tuning().tuning_id, scope, self._purge_stamp()

    def clear(self) -> None:
        """Forget all results."""
        self._memo.clear()

    def search(
        self,
        query: str,
        generations: Sequence[Generation],
        *,
        scope: Scope,
        limit: int,
        mode: Mode = Mode.AUTO,
        deadline: Deadline | None = None,
        per_file: int | None = None,
    ) -> SearchResult:
        """As `SearchEngine.search`, with a step `cache.results` when nothing was searched.

        Raises:
            DeadlineExceeded: the same search, asked by another, did not end in time; else as the engine.
        """
        index = self.index(generations, scope)
        until = deadline or Deadline.after(2 * self._budget_s)
        found, result = self._memo.get(
            (index, mode, limit, per_file, query.strip()),
            lambda: self._engine.search(
                query, generations, scope=scope, limit=limit, mode=mode, deadline=deadline, per_file=per_file
            ),
            until,
            keep=lambda found: may_be_kept(found, index),
        )
        if result != "miss":
            note_hit(len(found.hits), result, per_file)
        return found


def may_be_kept(found: SearchResult, index: Index) -> bool:
    """Whether a result is whole, and of the tuning that it would be kept under."""
    return not found.degraded and not found.notes and found.tuning_id == index[1]


def note_hit(hits: int, result: str, per_file: int | None) -> None:
    """Say that nothing was searched; `result` as `Memo.get` names it."""
    note("cache.results", Status.COMPLETED, result=result, hits=hits, per_file=per_file or 0)
