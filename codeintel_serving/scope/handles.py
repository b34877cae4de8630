"""Scopes under handles: minted here, random, expiring, and of no use to anybody but the caller they were given to."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from typing import Any, TypeVar

from pydantic import ValidationError

from codeintel_core.errors import UnknownScope
from codeintel_core.generations.generation import Generation
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_core.telemetry import current_run, step
from codeintel_serving import freshness
from codeintel_serving.access.principal import Permission, Principal
from codeintel_serving.freshness import Freshness
from codeintel_serving.models import ScopedRepository, ScopeModel, ScopeResponse, ToolRequest
from codeintel_serving.recording import Caller
from codeintel_serving.resolving import Resolved, Resolver
from codeintel_serving.scope.redis_backend import RedisBackend
from codeintel_serving.scope.store import ScopeStore, key_of

_HANDLE = re.compile(r"scope_[A-Za-z0-9_-]{32}")
_UNKNOWN = "no such scope, or it has expired; set it again, or send `scope`"
_Request = TypeVar("_Request", bound=ToolRequest)


class Scopes:
    """Sets, gets and opens handles.

    Attributes:
        store: where they are kept.
    """

    def __init__(self, settings: Settings, resolver: Resolver, fresh: Freshness) -> None:
        url = settings.redis_url
        self.backend = RedisBackend(url.get_secret_value(), settings.redis_timeout_ms / 1000) if url else None
        self.store = ScopeStore(self.backend, settings.scope_entries)
        self._ttl_s, self._resolver, self._freshness = settings.scope_ttl_s, resolver, fresh

    async def set(self, scope: ScopeModel, caller: Caller) -> ScopeResponse:
        """Keep a scope under a new handle; with a session, also as what its requests mean when they name none.

        Raises:
            CodeIntelError: as `Resolver.pin`; a scope that means nothing is not kept.
        """
        caller.principal.require(Permission.READ)
        handle = f"scope_{secrets.token_urlsafe(24)}"
        found = await self._described(handle, scope, self._ttl_s, caller)
        value = {"scope": scope.model_dump(mode="json"), "ends_at": time.time() + self._ttl_s}
        owner = caller.principal.id
        is_shared = await self.store.put(key_of("scope", owner, handle), owner, value, self._ttl_s)
        if caller.session_id:
            await self.store.put(_session_key(caller), owner, value, self._ttl_s)
        if is_shared or self.backend is None:
            return found
        return found.model_copy(update={"warnings": [*found.warnings, self.backend.problem]})

    async def get(self, handle: str, caller: Caller) -> ScopeResponse:
        """The scope of a handle, resolved anew; raises `UnknownScope`, or as `set`."""
        caller.principal.require(Permission.READ)
        scope, left_s = await self._kept(handle, caller.principal)
        return await self._described(handle, scope, left_s, caller)

    async def opened(self, request: _Request, caller: Caller, permission: Permission = Permission.READ) -> _Request:
        """The request with the scope that its handle, or its session, stands for.

        A session whose scope nobody can tell, since Redis does not answer, goes on with everything its caller may see:
        the step is `skipped` with the reason, which is in the `warnings` of the answer and its limits too.

        Raises:
            Forbidden: the caller lacks the permission.
            UnknownScope: forged, expired or another caller's handle, in the same words.
        """
        is_of_session = bool(caller.session_id) and "scope" not in request.model_fields_set
        if not request.scope_id and not is_of_session:
            return request
        with step("scope.open") as opening:
            caller.principal.require(permission)
            if request.scope_id:
                scope, _ = await self._kept(request.scope_id, caller.principal)
            else:
                value = await self.store.get(_session_key(caller), caller.principal.id)
                if value is None and self.backend is not None and self.backend.problem:
                    lost = f"if this session has set a scope, it was not applied: {self.backend.problem}"
                    opening.skip(lost)
                    return request.without_scope(lost)
                if value is None:
                    return request
                scope, _ = _read(value)
        return request.model_copy(update={"scope": scope, "scope_id": ""})

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self.store.aclose()

    async def _kept(self, handle: str, principal: Principal) -> tuple[ScopeModel, float]:
        value = None
        if _HANDLE.fullmatch(handle):
            value = await self.store.get(key_of("scope", principal.id, handle), principal.id)
        if value is None:
            raise UnknownScope(_UNKNOWN)
        return _read(value)

    async def _described(self, handle: str, scope: ScopeModel, left_s: float, caller: Caller) -> ScopeResponse:
        pin = self._resolver.pin(ToolRequest(scope=scope), caller)
        work = await asyncio.to_thread(pin.__enter__)
        try:
            spans = await self._spans(work)
            index = await asyncio.to_thread(self._freshness.entries, work.generations)
        finally:
            pin.__exit__(None, None, None)
        searched = freshness.coverage(work.generations, {})
        run = current_run()
        return ScopeResponse(
            scope_id=handle,
            scope=scope,
            expires_in_s=round(left_s, 1),
            repositories=[
                ScopedRepository(repo=generation.repo, generation=generation.manifest.gen_id, spans=count)
                for generation, count in zip(work.generations, spans, strict=True)
            ],
            index=index,
            coverage=searched,
            run_id=run.run_id if run else "",
            trace_id=run.trace_id if run else "",
            warnings=freshness.warnings(index, searched),
        )

    async def _spans(self, work: Resolved) -> list[int]:
        """Spans of each generation inside the scope.

        Kept by content: filters and generations. Who sees the same generations may share the counts; when one of them
        is replaced, the key is another.
        """
        gen_ids = [generation.manifest.gen_id for generation in work.generations]
        key = key_of("spans", "", repr(work.scope), json.dumps(gen_ids))
        kept = await self.store.get(key, "")
        if isinstance(kept, list) and len(kept) == len(gen_ids):
            return kept
        counts = await asyncio.to_thread(lambda: [_count(generation, work.scope) for generation in work.generations])
        await self.store.put(key, "", counts, self._ttl_s)
        return counts


def _session_key(caller: Caller) -> str:
    return key_of("session", caller.principal.id, caller.session_id)


def _read(value: Any) -> tuple[ScopeModel, float]:
    """The scope and the seconds it will still live; raises `UnknownScope` when another version wrote it."""
    try:
        return ScopeModel.model_validate(value["scope"]), max(0.0, float(value["ends_at"]) - time.time())
    except (ValidationError, KeyError, TypeError, ValueError):
        raise UnknownScope(_UNKNOWN) from None


def _count(generation: Generation, scope: Scope) -> int:
    allowed = generation.catalog.allowed_ids(scope)
    return generation.manifest.counts.chunks if allowed is None else len(allowed)
