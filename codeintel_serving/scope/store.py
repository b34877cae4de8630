"""The scope store: what this worker knows (LRU with a time to live), then what all workers share, asked once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from cachetools import TLRUCache

from codeintel_core.telemetry import metrics
from codeintel_serving.scope.redis_backend import BackendDown, ScopeBackend

_PREFIX = "codeintel"


@dataclass(frozen=True, slots=True)
class Kept:
    """A value of the store, whose it is, and the monotonic time at which its life ends."""

    value: Any
    owner: str
    ends_at_s: float


def key_of(kind: str, owner: str, *content: str) -> str:
    """The key of what belongs to `owner`; hashed, so that handles cannot be read out of Redis.

    Another caller who got hold of a handle has another key for it, under which there is nothing.
    """
    digest = hashlib.sha256("\0".join((owner, *content)).encode("utf-8", "replace")).hexdigest()
    return f"{_PREFIX}:{kind}:{digest}"


class ScopeStore:
    """Values by key, in this worker and, when there is a backend that answers, in all.

    Belongs to one event loop at a time.
    """

    def __init__(self, backend: ScopeBackend | None, entries: int) -> None:
        self._backend = backend
        self._kept: TLRUCache[str, Kept] = TLRUCache(entries, ttu=lambda _key, kept, _now: kept.ends_at_s)
        self._unshared: set[str] = set()
        self._flying: dict[str, asyncio.Task[Kept | None]] = {}
        self._sharing: asyncio.Task[None] | None = None

    async def put(self, key: str, owner: str, value: Any, ttl_s: float) -> bool:
        """Keep a JSON value; False when only this worker knows it for now (it is shared as soon as that works)."""
        kept = Kept(value, owner, time.monotonic() + ttl_s)
        self._keep(key, kept)
        try:
            await self._share_one(key, kept)
        except BackendDown:
            self._unshared.add(key)
            return False
        return True

    async def get(self, key: str, owner: str) -> Any | None:
        """The value that `put` kept for this owner, or None."""
        if (kept := self._kept.get(key)) is not None:
            metrics.CACHE_REQUESTS.labels("scope", "l1").inc()
            self._share_soon()
            return kept.value
        if self._backend is None:
            metrics.CACHE_REQUESTS.labels("scope", "miss").inc()
            return None
        flying = self._flying.get(key)
        is_mine = flying is None or flying.get_loop() is not asyncio.get_running_loop()
        if flying is None or is_mine:
            flying = self._flying[key] = asyncio.create_task(self._fetch(key, owner))
            flying.add_done_callback(lambda _: self._flying.pop(key, None))
        found = await asyncio.shield(flying)  # one who leaves does not take it from the others
        result = "miss" if found is None else "l2" if is_mine else "shared"
        metrics.CACHE_REQUESTS.labels("scope", result).inc()
        return None if found is None else found.value

    async def aclose(self) -> None:
        """Close the backend's connections."""
        if self._sharing is not None:
            self._sharing.cancel()
        if self._backend is not None:
            await self._backend.aclose()

    def _keep(self, key: str, kept: Kept) -> None:
        self._kept[key] = kept
        metrics.SCOPE_ENTRIES.set(len(self._kept))

    async def _fetch(self, key: str, owner: str) -> Kept | None:
        assert self._backend is not None
        try:
            found = await self._backend.get(key)
        except BackendDown:
            return None
        if found is None:
            return None
        raw, ttl_s = found
        try:
            entry = json.loads(raw)
            is_it = (entry["key"], entry["owner"]) == (key, owner)  # Redis may hold, or answer, anything
        except (ValueError, KeyError, TypeError):
            is_it = False
        if not is_it:
            return None
        kept = Kept(entry["value"], owner, time.monotonic() + ttl_s)
        self._keep(key, kept)
        return kept

    async def _share_one(self, key: str, kept: Kept) -> None:
        if self._backend is not None:
            entry = {"key": key, "owner": kept.owner, "value": kept.value}
            await self._backend.set(key, json.dumps(entry).encode(), kept.ends_at_s - time.monotonic())

    def _share_soon(self) -> None:
        """Share what could not be shared, if the backend answers again; nobody waits for it."""
        if self._unshared and (self._sharing is None or self._sharing.done()):
            self._sharing = asyncio.create_task(self._share_all(), context=Context())  # of no request's run

    async def _share_all(self) -> None:
        for key in list(self._unshared):
            kept = self._kept.get(key)
            if kept is not None:
                try:
                    await self._share_one(key, kept)
                except BackendDown:
                    return
            self._unshared.discard(key)
