"""httpx's requests on aiohttp's connections: its parser is not Python, and a request takes a third of the CPU.

What httpx-aiohttp does, but that takes a refused and a lost connection for one that was not made in time: here each
error of aiohttp is the error that httpx has for it, since what is retried and what is told depends on it.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import lru_cache

import aiohttp
import httpx
from yarl import URL

_KEPT_S = 30.0
# The first that fits.
_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ServerDisconnectedError, httpx.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError),
    (aiohttp.ClientError, httpx.ReadError),
    (OSError, httpx.ReadError),
)


class Wire(httpx.AsyncBaseTransport):
    """Kept connections of one event loop; no redirects, cookies, `.netrc` or proxies from the environment."""

    def __init__(self, connections: int, context: ssl.SSLContext | None) -> None:
        """At most so many connections at a time; `context` for https."""
        connector = aiohttp.TCPConnector(limit=connections, ssl=context or True, keepalive_timeout=_KEPT_S)
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The head of the response; its body is read from its stream.

        Raises:
            httpx.TransportError: there is none.
        """
        if self._session.closed:  # aiohttp says so with a RuntimeError
            raise httpx.ReadError("the connections were closed")
        with _in_words_of_httpx():
            response = await self._session.request(
                request.method,
                _url(str(request.url)),
                headers=request.headers,
                data=request.content or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(sock_connect=request.extensions["timeout"]["connect"]),
            )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response), request=request)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _in_words_of_httpx():
            async for chunk in self._response.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        """Give the connection back when all of the body was read, else close it: a stream's end is not waited for."""
        self._response.close()


@contextmanager
def _in_words_of_httpx() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        for theirs, ours in _ERRORS:
            if isinstance(error, theirs):
                raise ours(str(error)) from error
        raise


@lru_cache(64)
def _url(text: str) -> URL:
    """As httpx encoded it, parsed once: a few endpoints have a few paths."""
    return URL(text, encoded=True)
