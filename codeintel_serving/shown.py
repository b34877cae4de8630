"""Pages of results, kept in memory as they are shown: as JSON, and as trace rows hold them.

A page is kept by what was searched (generations, tuning, the scope with the repositories that its caller sees, and what
was purged by then) and by the whole request. Of another generation, scope, caller's view, purge list or argument there
is another page; nothing in it is of one run, and what may change under an index that stays (how far it is behind) is
put to it for every answer. A page is bytes and a few words (see `memo`).
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from cachetools import LRUCache
from pydantic import TypeAdapter

from codeintel_core.retrieval.engine import SearchResult
from codeintel_core.secrets import SECRETS_VERSION
from codeintel_core.telemetry import metrics
from codeintel_core.traces.record import AnswerTrace
from codeintel_serving import freshness
from codeintel_serving.budgeting import page
from codeintel_serving.hits import file_of_hit, search_hit, shorter_hit, suspicions
from codeintel_serving.models import SearchHit, SearchRequest, SearchResponse
from codeintel_serving.recording import note_hits
from codeintel_serving.resolving import Resolved
from codeintel_serving.results import Index, may_be_kept
from codeintel_serving.shared_pages import SharedPages

_HITS = TypeAdapter(list[SearchHit])
_SIZE = struct.Struct("<I")
_PROGRAM = 1, SECRETS_VERSION, tuple(SearchResponse.model_fields)  # first the layout of `Shown.pack`
_Key = tuple[Index, str]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a request shows of a result.

    Attributes:
        hits: how many the result has, of which some are on the page.
        problems: what should have taken part and did not, in words.
        notes: what channels left out and whose texts speak to a model, in words.
        json: parts of the response as JSON, by field.
        traced: columns of the trace row as they are stored, by name (`AnswerTrace.masked`).
    """

    hits: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    json: Mapping[str, bytes]
    traced: Mapping[str, bytes]

    def pack(self) -> bytes:
        """The page as bytes, for another process."""
        parts = [*self.json.items(), *self.traced.items()]
        sizes = [[name, len(part)] for name, part in parts]
        head = orjson.dumps([self.hits, self.problems, self.notes, len(self.json), sizes])
        return b"".join((_SIZE.pack(len(head)), head, *(part for _, part in parts)))

    @classmethod
    def unpack(cls, data: bytes) -> Shown:
        """The page that `pack` gave."""
        end = _SIZE.size + _SIZE.unpack_from(data)[0]
        hits, problems, notes, of_response, sizes = orjson.loads(data[_SIZE.size : end])
        parts = []
        for name, size in sizes:
            parts.append((name, data[end : end + size]))
            end += size
        return cls(hits, tuple(problems), tuple(notes), dict(parts[:of_response]), dict(parts[of_response:]))


class Pages:
    """The pages last shown; safe to use from several threads.

    Attributes:
        shared: where other workers of this server find them too, None where there are none.
    """

    def __init__(self, entries: int) -> None:
        """`entries`: most pages; 0 keeps none."""
        self._kept: LRUCache[_Key, Shown] = LRUCache(max(1, entries))
        self._is_off = entries == 0
        self._lock = threading.Lock()
        self.shared: SharedPages | None = None

    def kept(self, index: Index, request: SearchRequest) -> Shown | None:
        """The page of this request over this index, None when it is not there."""
        key = _key(index, request)
        with self._lock:
            found: Shown | None = self._kept.get(key)
        if found is None and self.shared is not None:
            found = self._from_others(key, self.shared)
        return found

    def clear(self) -> None:
        """Forget all pages."""
        with self._lock:
            self._kept.clear()
        if self.shared is not None:
            self.shared.clear()

    def _from_others(self, key: _Key, shared: SharedPages) -> Shown | None:
        page = shared.get(_name(key))
        if page is None:  # counted as a miss when it was searched
            return None
        metrics.CACHE_REQUESTS.labels("siblings", "hit").inc()
        found = Shown.unpack(page)
        with self._lock:
            self._kept[key] = found
        return found

    def of(
        self, found: SearchResult, index: Index, request: SearchRequest, resolved: Resolved, trace: AnswerTrace
    ) -> Shown:
        """The page of a result; kept when the result may be and nothing was left out."""
        shown = _shown(found, request, resolved, trace)
        if not self._is_off and not resolved.left_out and may_be_kept(found, index):
            key = _key(index, request)
            with self._lock:
                self._kept[key] = shown
            if self.shared is not None:
                metrics.CACHE_REQUESTS.labels("siblings", "miss").inc()
                self.shared.keep(_name(key), shown.pack())
        return shown


def _key(index: Index, request: SearchRequest) -> _Key:
    return index, request.model_dump_json(exclude={"deadline_ms"})


def _name(key: _Key) -> bytes:
    """The key as all workers of this program write it; one that was started after an upgrade is another program."""
    return repr((_PROGRAM, key)).encode()


def _shown(found: SearchResult, request: SearchRequest, resolved: Resolved, trace: AnswerTrace) -> Shown:
    weights = found.weights if request.explain else None
    hits = [search_hit(hit, weights, found.tuning_id) for hit in found.hits]
    shown = page(hits, request, resolved, shorter_hit, file_of_hit)
    coverage = freshness.coverage(resolved.generations, found.degraded, found.idle, resolved.left_out)
    json = {
        "results": _HITS.dump_json(shown.items),
        "budget": shown.budget.model_dump_json().encode(),
        "coverage": coverage.model_dump_json().encode(),
    }
    note_hits(trace, found)
    notes = (*found.notes, *suspicions(found.hits))
    return Shown(len(found.hits), tuple(freshness.problems(coverage)), notes, json, trace.shared())
