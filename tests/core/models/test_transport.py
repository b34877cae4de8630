"""The transport against real sockets: deadlines, retries, breaker, error bodies, and nothing secret in any message."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.addresses import endpoint_url, is_forbidden_host
from codeintel_core.deadline import Deadline
from codeintel_core.errors import DeadlineExceeded
from codeintel_core.models.breaker import Breaker, State
from codeintel_core.models.failures import MAX_MESSAGE_CHARS, EndpointFailed, of_response
from codeintel_core.models.transport import Endpoint, _retry_after_s
from codeintel_core.settings import Settings
from codeintel_core.telemetry import run
from tests.core.models.conftest import KEY, Serve, endpoint, use
from tests.fake_endpoint import FakeEndpoint, Reply, Request, recorded, said
from tests.ports import free_port

PATH = "/v1/models"


def ask(there: Endpoint, seconds: float = 10.0) -> Any:
    return use(there, lambda: there.json("GET", PATH, None, Deadline.after(seconds)))


def failure(there: Endpoint, seconds: float = 10.0) -> EndpointFailed:
    with pytest.raises(EndpointFailed) as caught:
        ask(there, seconds)
    return caught.value


def one_after_another(*replies: Reply) -> Iterator[Reply]:
    yield from replies
    while True:
        yield replies[-1]


def sequence(serve: Serve, *replies: Reply) -> FakeEndpoint:
    following = one_after_another(*replies)
    return serve({PATH: lambda _: next(following)})


@pytest.fixture
def closed_port() -> str:
    return f"http://127.0.0.1:{free_port()}/v1"


def test_ids_and_the_key_travel_in_headers_and_nowhere_else(serve: Serve) -> None:
    fake = serve({PATH: said({"ok": 1})})
    run_id = str(uuid.uuid4())
    with run("test", None, run_id=run_id) as current:
        assert ask(endpoint(fake)) == {"ok": 1}
    headers = fake.requests[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-request-id"].startswith(run_id)
    assert headers["traceparent"].split("-")[1] == current.trace_id
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("reply", "status", "says"),
    [
        (recorded("chat-wrong-model"), 404, "The model `nope` does not exist"),
        (recorded("embed-no-key"), 401, "Unauthorized"),
        (recorded("chat-embeddings-on-generate-server"), 404, "Not Found"),
        (recorded("chat-503-queue-full"), 503, "currently busy"),
        (Reply(502, [b"<html><h1>Bad Gateway</h1></html>"]), 502, "Bad Gateway"),
        (said({"detail": [{"loc": ["body"], "msg": "Field required"}]}, 422), 422, "Field required"),
        (said({"error": {"message": f"bad key {KEY} or Bearer abcdef"}}, 403), 403, "bad key … or Bearer ***"),
        (said(b"\xff\xfe\0" * 50_000, 500), 500, ""),
        (said([1], 400), 400, "[1]"),
    ],
)
def test_every_shape_of_error_names_role_and_endpoint(serve: Serve, reply: Reply, status: int, says: str) -> None:
    fake = serve({PATH: reply})
    error = failure(endpoint(fake, attempts=1))
    assert (error.status, error.role) == (status, "chat")
    assert says in str(error)
    assert str(error).startswith(f"the chat endpoint {fake.url.removesuffix('/v1')} answered {status}")
    assert KEY not in str(error)
    assert len(str(error)) < MAX_MESSAGE_CHARS + 100


@given(st.binary(max_size=2_000))
def test_no_body_breaks_the_message(body: bytes) -> None:
    assert "\n" not in str(of_response("the x", "chat", 500, body, KEY))


def test_the_parameter_that_is_wrong_is_kept(serve: Serve) -> None:
    assert failure(endpoint(sequence(serve, recorded("chat-too-long-stream")))).param == "input_tokens"


def test_busy_answers_are_retried_and_others_are_not(serve: Serve) -> None:
    busy, good = recorded("chat-503-queue-full"), said({"ok": 1})
    fake = sequence(serve, busy, said("slow down", 429), good)
    assert ask(endpoint(fake)) == {"ok": 1}
    assert len(fake.requests) == 3
    for status in (400, 401, 404, 500):
        fake = sequence(serve, said("no", status), good)
        assert failure(endpoint(fake)).status == status
        assert len(fake.requests) == 1


def test_retry_after_is_honoured_and_never_past_the_deadline(serve: Serve) -> None:
    fake = sequence(serve, said("busy", 503, **{"retry-after": "7"}), said({"ok": 1}))
    assert failure(endpoint(fake), seconds=5).status == 503
    assert len(fake.requests) == 1
    fake = sequence(serve, said("busy", 503, **{"retry-after": "0"}), said({"ok": 1}))
    assert ask(endpoint(fake)) == {"ok": 1}


def test_retry_after_is_seconds_or_a_date_or_ignored() -> None:
    assert _retry_after_s({"retry-after": "12"}) == 12
    assert _retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert _retry_after_s({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}) > 1e6
    assert _retry_after_s({"retry-after": "soon"}) == _retry_after_s({}) == 0


def test_nobody_listens(closed_port: str) -> None:
    there = endpoint(closed_port, breaker_failures=10)
    assert "cannot be reached" in str(failure(there))
    assert there.breaker._failures == 3  # it was retried


def test_a_black_hole_ends_at_the_deadline(serve: Serve) -> None:
    fake = serve({PATH: Reply(200, [], hangs=True)})
    with pytest.raises(DeadlineExceeded, match="before the deadline"):
        ask(endpoint(fake), seconds=0.3)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (said(b"<html>"), "not JSON"),
        (said(b"x" * 5_000), "more than 1000 bytes"),
        (Reply(200, [b'{"a":'], is_cut=True), "broke the connection"),
        (Reply(307, [], {"location": "http://169.254.169.254/"}), "redirects are refused"),
    ],
)
def test_what_is_not_an_answer(serve: Serve, reply: Reply, says: str) -> None:
    fake = sequence(serve, reply)
    assert says in str(failure(endpoint(fake, response_bytes=1_000)))
    assert len(fake.requests) == 1


def test_no_cookie_is_kept(serve: Serve) -> None:
    fake = serve({PATH: said({}, **{"set-cookie": "session=1; Path=/"})})
    there = endpoint(fake)

    async def twice() -> None:
        for _ in range(2):
            await there.json("GET", PATH, None, Deadline.after(10))

    use(there, twice)
    assert ["cookie" in request.headers for request in fake.requests] == [False, False]


def test_the_breaker_opens_probes_once_and_closes(serve: Serve) -> None:
    fake = serve({PATH: said("down", 500)})
    there = endpoint(fake, breaker_failures=2, breaker_cool_down_s=0.2)
    for _ in range(2):
        failure(there)
    assert "left alone" in str(failure(there))
    assert len(fake.requests) == 2
    fake.routes[PATH] = said({"ok": 1})
    while there.breaker.state is State.OPEN:
        pass
    assert ask(there) == {"ok": 1}
    assert there.breaker.state is State.CLOSED


def test_a_half_open_breaker_lets_one_through() -> None:
    now = [0.0]
    breaker = Breaker(failures=1, cool_down_s=10, clock=lambda: now[0])
    assert breaker.allows()
    breaker.fail()
    assert not breaker.allows()
    now[0] = 10.0
    assert breaker.allows()
    assert not breaker.allows()
    breaker.abandon()  # a cancelled probe does not block the next
    assert breaker.allows()
    breaker.fail()
    assert breaker.state is State.OPEN


def test_errors_about_the_request_do_not_open_the_breaker(serve: Serve) -> None:
    there = endpoint(sequence(serve, said("bad", 400)), breaker_failures=1)
    failure(there)
    assert there.breaker.state is State.CLOSED


def test_cancelling_closes_the_connection_and_frees_the_slot(serve: Serve) -> None:
    fake = serve({PATH: Reply(200, [b"{"], hangs=True)})
    there = endpoint(fake, concurrency=1)

    async def work() -> None:
        for _ in range(2):
            asking = asyncio.create_task(there.json("GET", PATH, None, Deadline.after(30)))
            seen = len(fake.requests)
            while len(fake.requests) == seen:
                await asyncio.sleep(0.005)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

    use(there, work)
    assert there.breaker.state is State.CLOSED


def test_concurrency_is_bounded_and_waiting_counts_against_the_deadline(serve: Serve) -> None:
    fake = serve({PATH: Reply(200, [], hangs=True)})
    there = endpoint(fake, concurrency=1)

    async def work() -> list[Any]:
        asks = [there.json("GET", PATH, None, Deadline.after(0.3)) for _ in range(3)]
        return await asyncio.gather(*asks, return_exceptions=True)

    found = use(there, work)
    assert all(isinstance(error, DeadlineExceeded) for error in found)
    assert any("no free slot" in str(error) for error in found)
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/v1", "file:///etc/passwd", "x", "", "http://", "http://u:p@host/v1", "http://host/v1?key=1",
        "http://169.254.169.254/v1", "http://[fe80::1]/v1", "http://[::ffff:169.254.169.254]/v1",
        "http://metadata.google.internal/v1", "http://100.100.100.200", "http://[fd00:ec2::254]", "http://0.0.0.0:1",
        "http://host:99999/",
    ],
)  # fmt: skip
def test_refused_addresses(url: str) -> None:
    with pytest.raises(ValueError, match=r"URL|address"):
        endpoint_url(url)
    if url:
        with pytest.raises(ValueError, match="chat_base_url"):
            Settings(chat_base_url=url, chat_model="m")


def test_allowed_addresses() -> None:
    for url in ("http://127.0.0.1:8000/v1/", "https://models.example.org", "http://[::1]:1/v1", "http://10.0.0.8"):
        assert endpoint_url(url) == url.rstrip("/")
    assert not is_forbidden_host("example.org")


def test_an_endpoint_needs_a_model() -> None:
    with pytest.raises(ValueError, match="chat_model"):
        Settings(chat_base_url="http://127.0.0.1:1/v1")


def test_a_name_that_resolves_to_a_metadata_address_is_refused(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = serve({PATH: said({"ok": 1})})
    there = endpoint(fake.url.replace("127.0.0.1", "models.test"))

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert "link-local or metadata" in str(failure(there))
    assert not fake.requests


def test_settings_never_show_the_key() -> None:
    settings = Settings(chat_base_url="http://127.0.0.1:1/v1", chat_model="m", chat_api_key=KEY)
    assert KEY not in repr(settings) + settings.model_dump_json()


def test_requests_are_posted_as_json(serve: Serve) -> None:
    def echo(request: Request) -> Reply:
        return said({"method": request.method, "body": request.body})

    there = endpoint(serve({"/tokenize": echo}))
    found = use(there, lambda: there.json("POST", "/tokenize", {"prompt": "é\u2028"}, Deadline.after(10)))
    assert found == {"method": "POST", "body": {"prompt": "é\u2028"}}
