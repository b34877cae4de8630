"""A real server for tests, and polling with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from codeintel_serving.access.listening import listen
from codeintel_serving.api.server import Server
from codeintel_serving.services import Services

DEADLINE_S = 30.0


@contextmanager
def running(services: Services) -> Iterator[str]:
    """A real uvicorn server on a free port; yields its base URL."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(services)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(DEADLINE_S)


def until(is_true: Callable[[], object], deadline_s: float = DEADLINE_S) -> None:
    """Poll until it holds; fails after a deadline."""
    deadline = time.monotonic() + deadline_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
