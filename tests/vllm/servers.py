"""Real vLLM servers, one process group per role, started together and ended whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.ports import free_port

ROLES = {"chat": [], "embed": ["--runner", "pooling", "--convert", "embed"], "score": ["--runner", "pooling"]}
KEY = "sk-local-test"
_START_S = 900.0  # two minutes on two idle cores
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_API_KEY": KEY,
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def serving(python: Path, models: Path, logs: Path) -> Iterator[dict[str, str]]:
    """Base URL of each role, once all three answer; `models` holds one folder per role."""
    ports = {role: free_port() for role in ROLES}
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for role, options in ROLES.items():
            with (logs / f"{role}.log").open("wb") as log:
                started[role] = subprocess.Popen(
                    [
                        python, "-m", "vllm.entrypoints.openai.api_server", "--model", models / role,
                        "--served-model-name", f"tiny-{role}", "--enforce-eager", "--dtype", "float32",
                        "--host", "127.0.0.1", "--port", str(ports[role]), *options,
                    ],
                    env={**os.environ, **_ENVIRONMENT}, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        urls = {role: f"http://127.0.0.1:{port}/v1" for role, port in ports.items()}
        for role, url in urls.items():
            _wait(role, url, started[role], logs / f"{role}.log")
        yield urls
    finally:
        for process in started.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def _wait(role: str, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < until:
        try:
            if httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1)
    raise AssertionError(f"the {role} server does not answer:\n{log.read_text(errors='replace')[-3_000:]}")
