"""Bodies of searches that were asked before: what they ask is known without reading them again."""

from __future__ import annotations

from cachetools import LRUCache

from codeintel_serving.models import SearchRequest

_MOST_BYTES = 10_000


class KnownBodies:
    """Bodies that were validated, and what they ask: the same bytes ask the same. For one event loop."""

    def __init__(self, entries: int) -> None:
        """`entries`: most bodies; 0 keeps none."""
        self._kept: LRUCache[bytes, SearchRequest] = LRUCache(max(1, entries))
        self._is_off = entries == 0

    def keep(self, body: bytes, request: SearchRequest) -> None:
        """Remember what a body asks."""
        if len(body) <= _MOST_BYTES and not self._is_off:
            self._kept[body] = request

    def __contains__(self, body: bytes) -> bool:
        """Whether it is known, and so JSON within all bounds."""
        return body in self._kept

    def get(self, body: bytes) -> SearchRequest | None:
        """What the body asks, None when it is not known."""
        found: SearchRequest | None = self._kept.get(body)
        return found
