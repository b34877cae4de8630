"""The one way to a model endpoint: deadlines handed down, retries inside them, a breaker and a bound per endpoint.

Retries happen only while nothing was received (connect errors, 429, 502, 503, 504), with full jitter, never past the
deadline, and not before `Retry-After`. Keys travel in one header and appear in no log, error or span.
"""

from __future__ import annotations

import asyncio
import email.utils
import random
import secrets
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson

from codeintel_core.addresses import endpoint_url, is_forbidden_host
from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.models import failures
from codeintel_core.models.breaker import Breaker, State
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.telemetry import current_run, metrics, propagation

_RETRIED = frozenset({429, 502, 503, 504})
_ERROR_BYTES = 64 << 10
FAIR_S = 0.25
"""An attempt that was given less says nothing about the endpoint when it times out."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How an endpoint is used."""

    attempts: int = 3
    backoff_s: float = 0.1
    backoff_cap_s: float = 2.0
    connect_s: float = 2.0
    concurrency: int = 16
    response_bytes: int = 64 << 20
    breaker_failures: int = 5
    breaker_cool_down_s: float = 10.0


@dataclass(slots=True)
class Exchange:
    """An open response; whoever reads it sets `failed` when what came was no answer."""

    response: httpx.Response
    failed: bool = False


@dataclass(slots=True)
class _Local:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    wire: httpx.AsyncBaseTransport
    slots: asyncio.Semaphore
    is_checked: bool = False


class Endpoint:
    """A base URL, a model and a key for one role. Usable from one event loop at a time."""

    def __init__(self, role: str, base_url: str, model: str, key: str = "", policy: Policy | None = None) -> None:
        """`base_url` is the OpenAI-style base, with or without its `/v1`; raises ValueError when it is refused."""
        url = endpoint_url(base_url)
        self.role, self.model = role, model
        self.root = url.removesuffix("/v1")
        self.policy = policy or Policy()
        self.breaker = Breaker(self.policy.breaker_failures, self.policy.breaker_cool_down_s)
        self._key = key
        parts = urlsplit(url)
        self.where = f"the {role} endpoint {parts.scheme}://{parts.netloc}"
        self._local: _Local | None = None

    def redacted(self, text: str) -> str:
        """`text` on one line, capped and without secrets."""
        return failures.redacted(text, self._key)

    def failed(self, reason: str, *, status: int = 0) -> EndpointFailed:
        """An error of this endpoint."""
        return EndpointFailed(f"{self.where} {reason}", role=self.role, status=status)

    async def json(self, method: str, path: str, body: Any, deadline: Deadline) -> Any:
        """The parsed body of a response with status 200.

        Raises:
            EndpointFailed: refused, unreachable, an error status, too large, or not JSON.
            DeadlineExceeded: no whole answer before the deadline.
        """
        async with self.open(method, path, body, deadline) as exchange:
            try:
                data = await self._read(exchange.response, self.policy.response_bytes, deadline)
                return orjson.loads(data)
            except orjson.JSONDecodeError:
                exchange.failed = True
                raise self.failed("answered 200 with something that is not JSON") from None

    @asynccontextmanager
    async def open(self, method: str, path: str, body: Any, deadline: Deadline) -> AsyncIterator[Exchange]:
        """A response with status 200 whose body was not read yet; it is closed however the block is left.

        Raises:
            EndpointFailed, DeadlineExceeded: there is none.
        """
        local = self._here()
        try:
            async with asyncio.timeout(deadline.remaining_s):
                await local.slots.acquire()
        except TimeoutError:
            raise DeadlineExceeded(f"{self.where}: no free slot before the deadline") from None
        try:
            response = await self._send(local, method, path, body, deadline)
            exchange = Exchange(response)
            try:
                yield exchange
            except (asyncio.CancelledError, GeneratorExit):
                self.breaker.abandon()
                raise
            except BaseException:
                exchange.failed = True
                self._verdict(exchange)
                raise
            else:
                self._verdict(exchange)
            finally:
                await response.aclose()
        finally:
            local.slots.release()

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        local, self._local = self._local, None
        if local is not None and local.loop is asyncio.get_running_loop():
            await local.wire.aclose()

    def _verdict(self, exchange: Exchange) -> None:
        (self.breaker.fail if exchange.failed else self.breaker.succeed)()
        self._count("failed" if exchange.failed else "ok")

    def _count(self, result: str) -> None:
        metrics.MODEL_REQUESTS.labels(self.role, result).inc()
        metrics.BREAKER_OPEN.labels(self.role).set(self.breaker.state is not State.CLOSED)

    def _here(self) -> _Local:
        loop = asyncio.get_running_loop()
        if self._local is None or self._local.loop is not loop:
            from codeintel_core.models.wire import Wire  # a tenth of a second, which only those who ask a model pay

            is_https = self.root.startswith("https")
            wire = Wire(self.policy.concurrency, ssl.create_default_context() if is_https else None)
            self._local = _Local(loop, wire, asyncio.Semaphore(self.policy.concurrency))
        return self._local

    async def _send(self, local: _Local, method: str, path: str, body: Any, deadline: Deadline) -> httpx.Response:
        for attempt in range(self.policy.attempts):
            deadline.check(f"asking {self.where}")
            left_s = deadline.remaining_s
            if not self.breaker.allows():
                self._count("broken")
                raise self.failed(f"is left alone for {self.breaker.retry_in_s:.0f} s after repeated failures")
            wait_s = random.uniform(0, min(self.policy.backoff_cap_s, self.policy.backoff_s * 2**attempt))  # noqa: S311
            try:
                response = await self._attempt(local, method, path, body, deadline)
            except DeadlineExceeded:
                (self.breaker.fail if left_s >= FAIR_S else self.breaker.abandon)()
                self._count("timed_out")
                raise
            except EndpointFailed as error:
                self.breaker.fail()
                self._count("failed")
                failure, may_retry = error, isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
            except BaseException:  # cancelled, or nothing that is known: it says nothing about the endpoint
                self.breaker.abandon()
                raise
            else:
                if response.status_code == 200:
                    return response
                failure = await self._refusal(response, deadline)
                may_retry = response.status_code in _RETRIED
                wait_s = max(wait_s, _retry_after_s(response.headers))
            if not may_retry or attempt + 1 == self.policy.attempts or wait_s >= deadline.remaining_s:
                raise failure
            self._count("retried")
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable")

    async def _attempt(self, local: _Local, method: str, path: str, body: Any, deadline: Deadline) -> httpx.Response:
        left_s = deadline.remaining_s
        request = httpx.Request(
            method,
            _url(self.root + path),
            content=None if body is None else orjson.dumps(body),
            headers=self._headers(),
            extensions={"timeout": {"connect": min(self.policy.connect_s, left_s)}},  # the rest is bounded here
        )
        try:
            async with asyncio.timeout(left_s):
                if not local.is_checked:
                    await self._check_address()
                    local.is_checked = True
                return await local.wire.handle_async_request(request)
        except httpx.ConnectTimeout as error:
            raise self.failed(f"did not accept a connection within {self.policy.connect_s:g} s") from error
        except (TimeoutError, httpx.TimeoutException):
            raise DeadlineExceeded(f"{self.where} did not answer before the deadline") from None
        except httpx.ConnectError as error:
            raise self.failed("cannot be reached") from error
        except (httpx.HTTPError, ssl.SSLError) as error:
            raise self.failed(f"broke the connection ({type(error).__name__})") from error

    async def _refusal(self, response: httpx.Response, deadline: Deadline) -> EndpointFailed:
        body = b""
        try:
            with suppress(EndpointFailed, DeadlineExceeded):
                body = await self._read(response, _ERROR_BYTES, deadline, is_cut=True)
        finally:
            await response.aclose()
            is_alive = response.status_code < 500 and response.status_code != 429
            (self.breaker.succeed if is_alive else self.breaker.fail)()
            self._count("refused" if is_alive else "failed")
        return failures.of_response(self.where, self.role, response.status_code, body, self._key)

    async def _read(self, response: httpx.Response, limit: int, deadline: Deadline, *, is_cut: bool = False) -> bytes:
        data = bytearray()
        try:
            async with asyncio.timeout(deadline.remaining_s):
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > limit:
                        if is_cut:
                            break
                        raise self.failed(f"answered with more than {limit} bytes")
        except (TimeoutError, httpx.TimeoutException):
            raise DeadlineExceeded(f"{self.where} did not finish its answer before the deadline") from None
        except httpx.HTTPError as error:
            raise self.failed(f"broke the connection ({type(error).__name__})") from error
        return bytes(data[:limit])

    def _headers(self) -> dict[str, str]:
        run = current_run()
        headers = {
            "User-Agent": "codeintel",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",  # a stream is read byte by byte
            "X-Request-Id": f"{run.run_id if run else 'codeintel'}-{secrets.token_hex(4)}",
        }
        headers.update(propagation.carrier())
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    async def _check_address(self) -> None:
        """Refuse a name that resolves to a link-local or metadata address; one that does not resolve fails later."""
        parts = urlsplit(self.root)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_STREAM)
        except OSError:
            return
        if any(is_forbidden_host(str(address[4][0])) for address in found):
            raise self.failed("resolves to a link-local or metadata address, which is refused")


@lru_cache(maxsize=64)
def _url(text: str) -> httpx.URL:
    """Parsed once: a few endpoints have a few paths."""
    return httpx.URL(text)


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Seconds of a Retry-After header: a number or an HTTP date; 0 when there is none that can be read."""
    said = headers.get("retry-after", "").strip()
    if said.isdecimal():
        return float(said)
    with suppress(ValueError, TypeError):
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    return 0.0
