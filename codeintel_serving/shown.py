"""Pages of results, kept in memory as they are shown: as models, as JSON, and as trace rows hold them.

A page is kept by what was searched (generations, tuning, the scope with the repositories that its caller sees, and what
was purged by then) and by the whole request. Of another generation, scope, caller's view, purge list or argument there
is another page; nothing in it is of one run, and what may change under an index that stays (how far it is behind) is
put to it for every answer.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cachetools import LRUCache
from pydantic import TypeAdapter

from codeintel_core.generations.generation import Generation
from codeintel_core.retrieval.engine import SearchResult
from codeintel_serving import freshness
from codeintel_serving.budgeting import page
from codeintel_serving.hits import file_of_hit, search_hit, shorter_hit, suspicions
from codeintel_serving.models import Budget, Coverage, SearchHit, SearchRequest
from codeintel_serving.recording import candidates_of, fusion_of, generations_of
from codeintel_serving.resolving import Resolved
from codeintel_serving.results import Index, may_be_kept

_HITS = TypeAdapter(list[SearchHit])
_Key = tuple[Index, str]


@dataclass(slots=True)
class Shown:
    """What a request shows of a result.

    Attributes:
        found: the result.
        items, budget, coverage: parts of the response.
        suspicions: warnings about texts that speak to a model.
        json: the parts as JSON, by field of the response.
        traced: columns of the trace row, by name.
        masked: what the trace rows of all who are shown it share (`AnswerTrace.shared`); empty until the first.
    """

    found: SearchResult
    items: list[SearchHit]
    budget: Budget
    coverage: Coverage
    suspicions: list[str]
    json: Mapping[str, bytes]
    traced: Mapping[str, list[dict[str, Any]]]
    masked: Mapping[str, bytes] = field(default_factory=dict)


class Pages:
    """The pages last shown; safe to use from several threads."""

    def __init__(self, entries: int) -> None:
        """`entries`: most pages; 0 keeps none."""
        self._kept: LRUCache[_Key, Shown] = LRUCache(max(1, entries))
        self._is_off = entries == 0
        self._lock = threading.Lock()

    def kept(self, index: Index, request: SearchRequest) -> Shown | None:
        """The page of this request over this index, None when it is not there."""
        with self._lock:
            found: Shown | None = self._kept.get(_key(index, request))
            return found

    def clear(self) -> None:
        """Forget all pages."""
        with self._lock:
            self._kept.clear()

    def of(self, found: SearchResult, index: Index, request: SearchRequest, resolved: Resolved) -> Shown:
        """The page of a result; kept when the result may be and nothing was left out."""
        if resolved.left_out:
            return _shown(found, request, resolved)
        kept = self.kept(index, request)
        if kept is not None and kept.found is found:
            return kept
        shown = _shown(found, request, resolved)
        if not self._is_off and may_be_kept(found, index):
            with self._lock:
                self._kept[_key(index, request)] = shown
        return shown


def _key(index: Index, request: SearchRequest) -> _Key:
    return index, request.model_dump_json(exclude={"deadline_ms"})


def _shown(found: SearchResult, request: SearchRequest, resolved: Resolved) -> Shown:
    weights = found.weights if request.explain else None
    hits = [search_hit(hit, weights, found.tuned.tuning_id) for hit in found.hits]
    shown = page(hits, request, resolved, shorter_hit, file_of_hit)
    coverage = freshness.coverage(resolved.generations, found.degraded, found.idle, resolved.left_out)
    json = {
        "results": _HITS.dump_json(shown.items),
        "budget": shown.budget.model_dump_json().encode(),
        "coverage": coverage.model_dump_json().encode(),
    }
    traced = _traced(found, resolved.generations)
    return Shown(found, shown.items, shown.budget, coverage, suspicions(found.hits), json, traced)


def _traced(found: SearchResult, generations: Sequence[Generation]) -> dict[str, list[dict[str, Any]]]:
    return {
        "generations": generations_of(generations),
        "candidates": candidates_of(found),
        "fusion": fusion_of(found),
    }
