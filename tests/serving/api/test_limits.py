"""What a request may weigh, over raw sockets where a client library would not let us be that rude."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from running import until
from workshop import Workshop, settings_for

from codeintel_serving.api import protocol
from codeintel_serving.api.bounds import MAX_DEPTH
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def services(workshop: Workshop) -> Iterator[Services]:
    """Services with one slot of each kind, little patience for bodies, and lags that stay known."""
    changes = {"concurrent_answers": 1, "concurrent_searches": 1, "concurrent_others": 1, "body_timeout_s": 0.3,
               "watch_interval_s": 600}  # fmt: skip
    with Services(settings_for(workshop.home, **changes), encoder=lambda: workshop.encoder) as wired:
        wired.start()
        yield wired


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")
    found: dict[str, Any] = response.json()
    assert found["code"] == code
    return found


def raw(url: str, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """Status and problem that the server answers to bytes sent as they are."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for part in parts:
            connection.sendall(part)
        received = b""
        while more := connection.recv(65_536):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize("path", ["/search", "/mcp"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"query": "a", "query": "b"}', "'query' twice"),
        (b'{"query": "a", "scope": {"repos": [], "repos": []}}', "'repos' twice"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "deeper than 32"),
        (b"[" * 100_000, "deeper than 32"),
        (b'{"a":' * 400_00 + b"1" + b"}" * 400_00, "deeper than 32"),
    ],
)
def test_json_says_one_thing_and_is_not_deep(http: httpx.Client, path: str, body: bytes, said: str) -> None:
    found = problem(http.post(path, content=body, headers=JSON), 400, "malformed-body")
    assert said in found["detail"].replace('"', "'")


def test_a_compressed_bomb_is_not_unpacked(http: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    problem(
        http.post("/search", content=bomb, headers={**JSON, "Content-Encoding": "gzip"}), 415, "unsupported-media-type"
    )


def test_headers_are_limited(http: httpx.Client, base_url: str) -> None:
    problem(http.get("/livez", headers={"X-Large": "x" * 200_000}), 431, "headers-too-large")
    status, found = raw(base_url, b"GET /livez HTTP/1.1\r\nX: " + b"x" * 400_000)
    assert (status, found["code"]) == (431, "headers-too-large")


def test_what_is_not_http_gets_a_problem(base_url: str) -> None:
    status, found = raw(base_url, b"EHLO example.org\r\n\r\n")
    assert (status, found["code"]) == (400, "malformed-request")


def test_a_slow_body_ends(base_url: str) -> None:
    status, found = raw(base_url, b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert (status, found["code"]) == (408, "request-timeout")


@pytest.mark.parametrize("sent", [b"POST /search HTTP/1.1\r\nHost: loc", b"\r\n"])
def test_a_slow_head_ends(base_url: str, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    status, found = raw(base_url, sent)
    assert (status, found["code"]) == (408, "request-timeout")


@pytest.mark.parametrize("path", ["/search", "/status", "/mcp", "/livez"])
def test_foreign_hosts_and_origins_are_refused_everywhere(http: httpx.Client, path: str) -> None:
    problem(http.get(path, headers={"Host": "evil.example"}), 421, "foreign-host")
    problem(http.get(path, headers={"Origin": "https://evil.example"}), 403, "foreign-origin")
    problem(http.get(path, headers={"Origin": "null"}), 403, "foreign-origin")


def test_own_origins_pass(http: httpx.Client, base_url: str) -> None:
    for origin in (base_url, base_url.replace("127.0.0.1", "localhost")):
        assert http.get("/livez", headers={"Origin": origin}).status_code == 200


def test_each_kind_has_its_own_slots(
    services: Services, http: httpx.Client, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that hangs sheds other searches at once; what is in memory, answers, others and health go on."""
    assert http.post("/search", json={"query": "known"}).status_code == 200
    release, entered = threading.Event(), threading.Event()
    search = services.results.search

    def hanging(query: str, *arguments: Any, **options: Any) -> Any:
        if query == "hang":
            entered.set()
            assert release.wait(30)
        return search(query, *arguments, **options)

    monkeypatch.setattr(services.results, "search", hanging)
    results: list[int] = []
    hanging_client = threading.Thread(
        target=lambda: results.append(httpx.post(f"{base_url}/search", json={"query": "hang"}, timeout=60).status_code)
    )
    hanging_client.start()
    try:
        assert entered.wait(30)
        shed = http.post("/search", json={"query": "publish"})
        assert "'search'" in problem(shed, 503, "overloaded")["detail"]
        assert shed.headers["retry-after"] == "1"
        assert http.post("/search", json={"query": "known"}).status_code == 200
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        call["params"] = {"name": "search", "arguments": {"query": "publish"}}
        problem(http.post("/mcp", json=call), 503, "overloaded")
        assert http.post("/answer", json={"question": "publish"}).status_code == 200
        assert http.get("/status").status_code == 200
        assert http.get("/livez").status_code == 200
        assert 'codeintel_in_flight{kind="search"} 1.0' in http.get("/metrics").text
    finally:
        release.set()
        hanging_client.join(30)
    assert results == [200]
    until(lambda: http.post("/search", json={"query": "publish"}).status_code == 200)


def test_a_problem_names_the_stage_that_failed(http: httpx.Client) -> None:
    found = problem(http.post("/search", json={"query": "x", "scope": {"repos": ["nope"]}}), 404, "unknown-repository")
    assert found["stage"] == "scope.resolve"
    assert found["limits"] == ["scope.resolve failed: unknown-repository"]
