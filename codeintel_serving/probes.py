"""Probes of the configured model endpoints: one real request each, bounded in time and kept for a while.

`/health` says 200 while an engine sleeps and requests hang, so nothing less than an answer counts.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from codeintel_core.deadline import Deadline
from codeintel_core.embedding.remote import vectors_of
from codeintel_core.embedding.sparse.remote import ask_sparse
from codeintel_core.errors import CodeIntelError
from codeintel_core.models.roles import chat_model, embed_endpoint, score_model, sparse_endpoint
from codeintel_core.settings import Settings

_BOUND_S = 2.0
_KEPT_S = 15.0
Probe = Callable[[Settings, Deadline], Awaitable[None]]


class Probes:
    """What is wrong with each configured endpoint."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._found: dict[str, str] = {}
        self._until_s = 0.0

    def problems(self) -> dict[str, str]:
        """Role -> why it does not answer, '' when it does; waits for at most two seconds, once per 15."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                self._found = asyncio.run(_probe_all(self._settings))
                self._until_s = time.monotonic() + _KEPT_S
            return self._found


async def _probe_all(settings: Settings) -> dict[str, str]:
    wanted = {role: probe for role, probe in _PROBES.items() if getattr(settings, f"{role}_base_url")}
    deadline = Deadline.after(_BOUND_S)
    found = await asyncio.gather(*(_problem(probe, settings, deadline) for probe in wanted.values()))
    return dict(zip(wanted, found, strict=True))


async def _problem(probe: Probe, settings: Settings, deadline: Deadline) -> str:
    try:
        await probe(settings, deadline)
    except CodeIntelError as error:
        return str(error)
    return ""


async def _chat(settings: Settings, deadline: Deadline) -> None:
    model = chat_model(settings)
    assert model is not None
    body = {"model": model.model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    try:
        await model.endpoint.json("POST", "/v1/chat/completions", body, deadline)
    finally:
        with suppress(OSError):
            await model.endpoint.aclose()


async def _rerank(settings: Settings, deadline: Deadline) -> None:
    model = score_model(settings)
    assert model is not None
    try:
        await model.score("hi", ["hello"], deadline)
    finally:
        with suppress(OSError):
            await model.endpoint.aclose()


async def _embed(settings: Settings, deadline: Deadline) -> None:
    endpoint = embed_endpoint(settings)
    assert endpoint is not None
    body = {"model": endpoint.model, "input": ["hi"], "encoding_format": "base64"}
    try:
        found = await endpoint.json("POST", "/v1/embeddings", body, deadline)
        vectors_of(found, 1)
    except ValueError as error:
        raise endpoint.failed(str(error)) from None
    finally:
        with suppress(OSError):
            await endpoint.aclose()


async def _sparse(settings: Settings, deadline: Deadline) -> None:
    endpoint = sparse_endpoint(settings)
    assert endpoint is not None
    try:
        await ask_sparse(endpoint, ["hi"], 1, deadline)
    finally:
        with suppress(OSError):
            await endpoint.aclose()


_PROBES: dict[str, Probe] = {"chat": _chat, "rerank": _rerank, "embed": _embed, "sparse": _sparse}
