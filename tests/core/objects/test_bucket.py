"""The bucket itself: conditions, and servers and settings that would not do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from pydantic import ValidationError

from codeintel_core.errors import BucketUnavailable
from codeintel_core.objects.bucket import Bucket
from codeintel_core.settings import Settings
from tests.core.objects.conftest import Machine, MakeMachine


def test_conditional_writes(builder: Machine) -> None:
    bucket = Bucket.of(builder.settings)
    assert bucket.create("key", b"one")
    assert not bucket.create("key", b"two")
    found = bucket.get("key")
    assert found is not None
    assert found[0] == b"one"
    assert bucket.replace("key", b"three", found[1])
    assert not bucket.replace("key", b"four", found[1])
    assert bucket.read("key", 0, 3) == b"thr"
    assert bucket.read("key", 3, 10) == b"ee"
    assert bucket.read("key", 5, 1) == b""
    assert bucket.read("nothing", 0, 1) is None
    bucket.delete(["key", "nothing"])
    assert bucket.get("key") is None
    assert not bucket.replace("key", b"five", found[1])
    bucket.check()
    assert bucket.list("") == {}


class _Careless(BaseHTTPRequestHandler):
    """Takes every write, as servers did that knew no conditions."""

    stored: ClassVar[dict[str, bytes]] = {}

    write_status = 200

    def do_PUT(self) -> None:
        self.stored[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(self.write_status)

    def do_GET(self) -> None:
        empty = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        self._answer(200, empty if "list-type" in self.path else self.stored[self.path])

    def do_POST(self) -> None:  # deletes
        self._answer(200, b"<DeleteResult><Deleted><Key>probe</Key></Deleted></DeleteResult>")

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def careless() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_ignores_conditions_is_found_out(machine: MakeMachine, careless: str) -> None:
    with pytest.raises(BucketUnavailable, match="ignores conditions"):
        Bucket.of(machine("any", endpoint=careless).settings).check()


def test_a_machine_that_may_only_read_is_told_so(
    machine: MakeMachine, careless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Careless, "write_status", 403)
    assert "read only" in Bucket.of(machine("any", endpoint=careless).settings).check()


def test_a_bucket_that_is_not_there(machine: MakeMachine) -> None:
    with pytest.raises(BucketUnavailable, match="s3://no-such-bucket cannot be used"):
        Bucket.of(machine("any", url="s3://no-such-bucket").settings).check()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"home": "s3://"}, "home: in a bucket it is s3://bucket"),
        ({"home": "s3://bucket/../x"}, "home: in a bucket it is s3://bucket"),
        ({"home": "s3://bucket", "s3_endpoint": "http://127.0.0.1:9000"}, "set s3_allow_http=true"),
        ({"home": "s3://bucket", "s3_endpoint": "https://169.254.169.254"}, "link-local"),
        ({"home": "s3://bucket", "home_cache_gib": 0}, "greater than 0"),
    ],
)
def test_settings_that_would_not_do(changes: dict[str, object], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**changes)


def test_a_throwaway_home_beside_a_bucket_is_a_folder(builder: Machine, reader: Machine) -> None:
    assert builder.settings.bucket_url
    assert builder.settings.model_copy(update={"port": 1}).bucket_url == builder.settings.bucket_url
    assert builder.settings.model_copy(update={"home": reader.settings.home}).bucket_url == ""
