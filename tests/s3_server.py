"""A real S3-speaking server (moto) in a thread of the tests, and machines that have a home in one of its buckets."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from codeintel_core.settings import Settings

AWS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextmanager
def serving(port: int = 0) -> Iterator[str]:
    """Start a server without buckets; yields its URL."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def new_bucket(endpoint: str) -> str:
    """Make a bucket; returns the URL of a home in it."""
    name = f"bucket-{uuid4().hex[:12]}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return f"s3://{name}/team/home"


def settings_of(endpoint: str, url: str, folder: Path, **changes: Any) -> Settings:
    """Settings of a machine whose home is in the bucket, behind a folder of its own."""
    return Settings(home=url, home_cache=folder, s3_endpoint=endpoint, s3_allow_http=True, **changes)


def environment(endpoint: str, url: str, folder: Path) -> dict[str, str]:
    """The same as variables, for a process."""
    mine = {"HOME": url, "HOME_CACHE": str(folder), "S3_ENDPOINT": endpoint, "S3_ALLOW_HTTP": "true"}
    return {**os.environ, **AWS, **{f"CODEINTEL_{name}": value for name, value in mine.items()}}


def set_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server is told of who asks; it lets everybody in."""
    for name, value in AWS.items():
        monkeypatch.setenv(name, value)
