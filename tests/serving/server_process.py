"""`codeintel serve` as a process of its own: signalled, killed, and asked over HTTP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.ports import free_port
from tests.serving.running import until

START_DEADLINE_S = 120.0  # a loaded machine takes its time to import what a server needs
_RUN = [sys.executable, "-c", "from codeintel_core.cli import main; main()", "serve"]


class ServerProcess:
    """A server over a home; its stderr is kept in `log`."""

    def __init__(self, home: Path, log: Path, *, descriptors: int = 0, **settings: object) -> None:
        """`descriptors`: limit of open files, 0 for the machine's own."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        budgets = {"retrieval_budget_ms": 20_000, "answer_budget_ms": 60_000, "watch_interval_s": 0.2}
        variables = {
            f"CODEINTEL_{k.upper()}": str(v) for k, v in {**budgets, **settings, "home": home, "port": port}.items()
        }
        run = _RUN if not descriptors else ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "serve", *_RUN]
        with log.open("wb") as out:
            self.process = subprocess.Popen(run, env={**os.environ, **variables}, stdout=out, stderr=out)

    def wait_until_up(self) -> None:
        """Return once it answers questions, be it degraded."""
        until(lambda: self.state() in ("ready", "degraded"), START_DEADLINE_S)

    def state(self) -> str:
        """State that readiness tells, '' when nothing answers."""
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.log.read_text()}")
        try:
            return str(httpx.get(f"{self.url}/readyz", timeout=10).json()["state"])
        except httpx.HTTPError:
            return ""

    def terminate(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)

    def exit_code(self, timeout_s: float = 60) -> int:
        """Wait for its end."""
        return self.process.wait(timeout_s)


@contextmanager
def servers(home: Path, logs: Path, count: int = 1, **settings: object) -> Iterator[list[ServerProcess]]:
    """Some servers over one home, up, killed at the end."""
    started = [ServerProcess(home, logs / f"server-{number}.log", **settings) for number in range(count)]
    try:
        for server in started:
            server.wait_until_up()
        yield started
    finally:
        for server in started:
            server.process.kill()
            server.process.wait()
