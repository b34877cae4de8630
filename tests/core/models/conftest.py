"""Endpoints on real sockets, and a runner for coroutines that leaves no task behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest

from codeintel_core.models.transport import Endpoint, Policy
from tests.fake_endpoint import FakeEndpoint, Reply, Route
from tests.tasks import assert_none_goes_on

_T = TypeVar("_T")
KEY = "sk-very-secret-key"
Serve = Callable[[dict[str, Route | Reply]], FakeEndpoint]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Factory of fake endpoints that stop with the test."""
    with ExitStack() as running:
        yield lambda routes: running.enter_context(FakeEndpoint(routes))


def endpoint(fake: FakeEndpoint | str, **policy: Any) -> Endpoint:
    """A chat endpoint that retries at once."""
    url = fake if isinstance(fake, str) else fake.url
    return Endpoint("chat", url, "tiny-chat", KEY, Policy(**{"backoff_s": 0.001, **policy}))


def use(there: Endpoint, work: Callable[[], Awaitable[_T]]) -> _T:
    """Run `work` in a loop of its own, close the endpoint, and fail if a task is left."""

    async def main() -> _T:
        try:
            return await work()
        finally:
            await there.aclose()
            await assert_none_goes_on()

    return asyncio.run(main())
