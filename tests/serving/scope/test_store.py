"""The scope store over a real Redis: killed, emptied, frozen, it is L1 only after a bounded wait, and heals."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import RedisServer, redis_server

from codeintel_core.telemetry import metrics
from codeintel_serving.scope import redis_backend
from codeintel_serving.scope.redis_backend import RedisBackend
from codeintel_serving.scope.store import ScopeStore, key_of

KEY = key_of("scope", "ada", "handle")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as found:
        yield found


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_backend, "_COOL_DOWN_S", 0.05)


@asynccontextmanager
async def workers(server: RedisServer, timeout_s: float = 5.0) -> AsyncIterator[tuple[ScopeStore, ScopeStore]]:
    """What each of two workers has."""
    one, two = (ScopeStore(RedisBackend(server.url, timeout_s), 100) for _ in range(2))
    yield one, two
    await one.aclose()
    await two.aclose()


def looked_up(result: str) -> float:
    found = metrics.REGISTRY.get_sample_value("codeintel_cache_requests_total", {"cache": "scope", "result": result})
    return found or 0.0


async def eventually(attempt: Any, wanted: Any) -> None:
    deadline = time.monotonic() + 30
    while await attempt() != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_two_workers_see_the_same(server: RedisServer) -> None:
    async def scenario() -> None:
        async with workers(server) as (one, two):
            assert await one.put(KEY, "ada", {"repos": ["shop"]}, 60) is True
            before = looked_up("l2")
            assert await two.get(KEY, "ada") == {"repos": ["shop"]}
            assert looked_up("l2") == before + 1
            before = looked_up("l1")
            assert await two.get(KEY, "ada") == {"repos": ["shop"]}
            assert looked_up("l1") == before + 1

    asyncio.run(scenario())


def test_what_is_asked_at_once_is_asked_once(server: RedisServer) -> None:
    async def scenario() -> None:
        async with workers(server) as (one, two):
            await one.put(KEY, "ada", [1], 60)
            before = server.client.info("commandstats")["cmdstat_get"]["calls"]
            assert await asyncio.gather(*(two.get(KEY, "ada") for _ in range(50))) == [[1]] * 50
            assert server.client.info("commandstats")["cmdstat_get"]["calls"] == before + 1

    asyncio.run(scenario())


def test_one_who_leaves_does_not_take_it_from_the_others(server: RedisServer) -> None:
    async def scenario() -> None:
        async with workers(server) as (one, two):
            await one.put(KEY, "ada", [2], 60)
            first = asyncio.create_task(two.get(KEY, "ada"))
            second = asyncio.create_task(two.get(KEY, "ada"))
            await asyncio.sleep(0)
            first.cancel()
            assert await second == [2]

    asyncio.run(scenario())


def test_life_ends_in_both_levels(server: RedisServer) -> None:
    async def scenario() -> None:
        async with workers(server) as (one, two):
            await one.put(KEY, "ada", [3], 0.3)
            assert await two.get(KEY, "ada") == [3]
            await eventually(lambda: one.get(KEY, "ada"), None)
            await eventually(lambda: two.get(KEY, "ada"), None)

    asyncio.run(scenario())


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_without_redis_a_worker_knows_its_own_and_shares_it_later(server: RedisServer, fault: str) -> None:
    """Killed and restarted empty, or frozen and thawed: both levels work again, with what was set meanwhile."""

    async def scenario() -> None:
        async with workers(server, timeout_s=0.2) as (one, two):
            assert await one.put(KEY, "ada", ["before"], 600)
            (server.kill if fault == "killed" else server.freeze)()
            other = key_of("scope", "ada", fault)
            try:
                assert await one.put(other, "ada", ["meanwhile"], 600) is False
                assert "Redis does not answer" in one._backend.problem  # type: ignore[union-attr]
                assert await one.get(KEY, "ada") == ["before"]
                assert await one.get(other, "ada") == ["meanwhile"]
                assert await two.get(other, "ada") is None
                assert metrics.REGISTRY.get_sample_value("codeintel_redis_up") == 0
            finally:
                (server.start if fault == "killed" else server.thaw)()

            async def seen_by_two() -> Any:
                assert await one.get(other, "ada") == ["meanwhile"]
                return await two.get(other, "ada")

            await eventually(seen_by_two, ["meanwhile"])
            assert one._backend.problem == ""  # type: ignore[union-attr]
            assert metrics.REGISTRY.get_sample_value("codeintel_redis_up") == 1

    asyncio.run(scenario())


def test_while_redis_is_down_nobody_waits_for_it_again_and_again(server: RedisServer) -> None:
    """One request pays the timeout; the others find the breaker open."""

    async def scenario() -> None:
        backend = RedisBackend(server.url, 0.3)
        down = ScopeStore(backend, 100)
        server.freeze()
        try:
            assert await down.get(KEY, "ada") is None
            backend._breaker._cool_down_s = 3600.0
            asked: list[object] = []
            backend._connected = lambda: asked.append(1)  # type: ignore[assignment,return-value,func-returns-value]
            for _ in range(20):
                assert await down.get(KEY, "ada") is None
            assert asked == []
        finally:
            server.thaw()

    asyncio.run(scenario())


def stored(key: str, owner: str) -> bytes:
    return json.dumps({"key": key, "owner": owner, "value": ["hers"]}).encode()


@pytest.mark.parametrize(
    ("value", "life_ms"),
    [
        (b"not json", 60_000),
        (b"[]", 60_000),
        (stored(KEY, "eve"), 60_000),
        (stored("another", "ada"), 60_000),
        (stored(KEY, "ada"), None),  # without an end
    ],
)
def test_only_what_was_put_for_this_caller_is_taken(server: RedisServer, value: bytes, life_ms: int | None) -> None:
    server.client.set(KEY, value, px=life_ms)

    async def scenario() -> None:
        async with workers(server) as (one, _):
            assert await one.get(KEY, "ada") is None

    asyncio.run(scenario())
    server.client.delete(KEY)


def test_the_least_used_goes_first_when_there_are_too_many() -> None:
    async def scenario() -> None:
        one = ScopeStore(None, 2)
        for name in ("a", "b"):
            await one.put(key_of("scope", "ada", name), "ada", name, 60)
        await one.get(key_of("scope", "ada", "a"), "ada")
        await one.put(key_of("scope", "ada", "c"), "ada", "c", 60)
        assert [await one.get(key_of("scope", "ada", name), "ada") for name in "abc"] == ["a", None, "c"]

    asyncio.run(scenario())


@settings(max_examples=50)
@given(st.lists(st.text(max_size=8), min_size=2, max_size=3, unique=True), st.text(max_size=8))
def test_keys_of_two_owners_never_meet(owners: list[str], handle: str) -> None:
    assert len({key_of("scope", owner, handle) for owner in owners}) == len(owners)
    assert handle not in key_of("scope", owners[0], handle) or len(handle) < 8
