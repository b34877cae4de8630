"""Redis as the second level of the scope store: shared by workers, and never waited for longer than it may take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

from codeintel_core.models.breaker import Breaker, State
from codeintel_core.telemetry import Status, metrics, step

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.retry import Retry as RedisRetry

_log = logging.getLogger("codeintel.scope")
_COOL_DOWN_S = 1.0
_T = TypeVar("_T")


class BackendDown(Exception):
    """The backend did not answer in time, or at all; the caller goes on without it."""


class ScopeBackend(Protocol):
    """Where scopes are shared between workers."""

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """The value and the seconds it will still live, or None; raises `BackendDown`."""

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for a while; raises `BackendDown`."""

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""

    @property
    def problem(self) -> str:
        """Why it is not asked at the moment, '' when it is."""


class RedisBackend:
    """Redis behind a circuit breaker: after one failure it is left alone for a second, then one request probes it."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """`timeout_s` bounds each request, connecting included."""
        self._url, self._timeout_s = url, timeout_s
        self._breaker = Breaker(failures=1, cool_down_s=_COOL_DOWN_S)
        self._client: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._why = ""

    @property
    def problem(self) -> str:
        """Why it is not asked at the moment, '' when it is."""
        return "" if self._breaker.state is State.CLOSED else self._why

    def ping(self) -> str:
        """Why Redis does not answer now, '' when it does; blocks for at most two timeouts."""
        from redis import Redis, RedisError

        try:
            with Redis.from_url(
                self._url, socket_timeout=self._timeout_s, socket_connect_timeout=self._timeout_s, retry=_once()
            ) as client:
                client.ping()
        except (RedisError, OSError) as error:
            return _why(error)
        return ""

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """The value and the seconds it will still live, or None; raises `BackendDown`."""

        async def ask(client: Redis) -> tuple[bytes | None, int]:
            pipeline = client.pipeline(transaction=False)
            pipeline.get(key)
            pipeline.pttl(key)
            value, ttl_ms = await pipeline.execute()
            return value, ttl_ms

        value, ttl_ms = await self._ask("scope.fetch", ask)
        return None if value is None or ttl_ms <= 0 else (value, ttl_ms / 1000)

    async def set(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a value for a while; raises `BackendDown`."""

        async def keep(client: Redis) -> None:
            await client.set(key, value, px=max(1, int(ttl_s * 1000)))

        await self._ask("scope.share", keep)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        if self._client is not None and self._loop is asyncio.get_running_loop():
            with suppress(Exception):  # it may be frozen, and we are leaving
                async with asyncio.timeout(self._timeout_s):
                    await self._client.aclose()
            self._client = None

    async def _ask(self, kind: str, ask: Callable[[Redis], Awaitable[_T]]) -> _T:
        """One request to Redis as a step of the given kind."""
        with step(kind) as current:
            try:
                return await self._asked(ask)
            except BackendDown as error:
                current.end(Status.FAILED, str(error))
                raise

    async def _asked(self, ask: Callable[[Redis], Awaitable[_T]]) -> _T:
        from redis.exceptions import RedisError

        if not self._breaker.allows():
            raise BackendDown(self._why)
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await ask(self._connected())
        except (RedisError, OSError, TimeoutError) as error:
            self._why = _why(error)
            self._breaker.fail()
            metrics.REDIS_UP.set(0)
            _log.warning(self._why)
            raise BackendDown(self._why) from None
        except BaseException:
            self._breaker.abandon()
            raise
        self._breaker.succeed()
        metrics.REDIS_UP.set(1)
        return answer

    def _connected(self) -> Redis:
        """The client of the running event loop, to which its connections belong."""
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            from redis.asyncio import Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff

            self._client = Redis.from_url(
                self._url,
                socket_timeout=self._timeout_s,
                socket_connect_timeout=self._timeout_s,
                retry=Retry(NoBackoff(), 0),
            )
            self._loop = loop
        return self._client


def _once() -> RedisRetry:
    """redis-py tries three times by default, which is three times the wait."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Retry(NoBackoff(), 0)


def _why(error: BaseException) -> str:
    return f"Redis does not answer ({type(error).__name__}); scopes are kept by this worker only"
