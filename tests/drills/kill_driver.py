"""Builds that are killed, each in a forked child of this script: a killed test process would prove nothing.

Usage: kill_driver.py HOME REPO, then one JSON object per line on stdin: {"edge": N} kills the build with SIGKILL at
the N-th edge (just before or just after a call that changes the disk), {"after_s": S} kills it and every process it
started S seconds after its start, {} lets it finish; "compact": true compacts instead of building. Answers each with
{"killed", "edges", "acknowledged", "error"} on stdout.

The calls are patched here and not in the product: fsync, rename, replace, link, unlink, rmdir and write_table. The
JVM, DuckDB and SQLite write on their own; kills at random moments hit those.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import fake_encoder, plain_build
from codeintel_core.home import Home
from tests.drills.conftest import settings_for

_CALLS = ("fsync", "rename", "replace", "link", "unlink", "rmdir")


def main() -> None:
    home, repo = Home(Path(sys.argv[1])), sys.argv[2]
    for line in sys.stdin:
        print(json.dumps(_cycle(home, repo, json.loads(line))), flush=True)


def _cycle(home: Home, repo: str, order: dict[str, Any]) -> dict[str, Any]:
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(readable)
        os.setpgid(0, 0)
        try:
            _build(home, repo, order, writable)
        except BaseException as error:  # the parent reports it; this process ends here in any case
            os.write(writable, f"error {type(error).__name__}: {error}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(writable)
    if "after_s" in order:
        threading.Timer(order["after_s"], _kill_group, [child]).start()
    status = os.waitpid(child, 0)[1]
    with os.fdopen(readable) as pipe:
        said = dict(line.split(" ", 1) for line in pipe.read().splitlines())
    return {
        "killed": os.WIFSIGNALED(status),
        "edges": int(said.get("edges", 0)),
        "acknowledged": said.get("published", ""),
        "error": said.get("error", ""),
    }


def _build(home: Home, repo: str, order: dict[str, Any], pipe: int) -> None:
    count = _arm(order.get("edge", -1))
    with fake_encoder.used_by_builds():
        # This ratio lets most builds link the primary of their parent, and some rebuild it.
        settings = settings_for(home, inline_rebuild_ratio=0.4)
        manifest = plain_build.build(home, settings, repo, compact=order.get("compact", False))
    os.write(pipe, f"published {manifest.gen_id}\nedges {count()}\n".encode())


def _kill_group(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return


def _arm(deadly: int) -> Callable[[], int]:
    """Count edges and die at number `deadly`; returns the counter."""
    seen, lock = 0, threading.Lock()  # several calls of fsync at once

    def edge() -> None:
        nonlocal seen
        with lock:
            if seen == deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            edge()
            result = call(*arguments, **options)
            edge()
            return result

        return run

    for name in _CALLS:
        setattr(os, name, wrapped(getattr(os, name)))
    pq.write_table = wrapped(pq.write_table)
    return lambda: seen


if __name__ == "__main__":
    main()
