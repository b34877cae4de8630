"""A real server for tests, and polling with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from codeintel_serving.access import listen
from codeintel_serving.api.app import create_app
from codeintel_serving.services import Services

DEADLINE_S = 30.0


@contextmanager
def running(services: Services) -> Iterator[str]:
    """A real uvicorn server on a free port; yields its base URL."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app(services), log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(DEADLINE_S)


def until(is_true: Callable[[], object]) -> None:
    """Poll until it holds; fails after a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
