"""Kills a publisher at every point: run as a script by test_publish, because a killed test process proves nothing.

Usage: crash_driver.py HOME STAGING MANIFEST WORK
For each call that reaches the disk (fsync, rename, replace) a child publishes in a fresh copy of HOME and is killed
with SIGKILL just before or just after that call. Prints one line for each: point, `killed` or `finished`, home.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.publish import publish
from codeintel_core.home import Home

_CALLS = ("fsync", "rename", "replace")


def main() -> None:
    home, staging, manifest_file, work = (Path(argument) for argument in sys.argv[1:])
    manifest = Manifest.model_validate_json(manifest_file.read_bytes())
    point, killed = 0, True
    while killed:
        copy = work / str(point)
        shutil.copytree(home, copy, symlinks=True)
        child = os.fork()
        if child == 0:
            _arm(point)
            publish(Home(copy).repository("demo"), copy / staging.relative_to(home), manifest)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        killed = os.WIFSIGNALED(status)
        if not killed and os.waitstatus_to_exitcode(status) != 0:
            sys.exit("the publisher failed")
        print(point, "killed" if killed else "finished", copy)
        point += 1


def _arm(point: int) -> None:
    """Count the edges (before, after) of all calls; die at the edge number `point`."""
    left, lock = point, threading.Lock()  # several calls of fsync at once

    def edge() -> None:
        nonlocal left
        with lock:
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            edge()
            result = call(*arguments, **options)
            edge()
            return result

        return run

    os.fsync = lambda _: None  # SIGKILL loses nothing that was written: only the order of the calls matters here
    for name in _CALLS:
        setattr(os, name, wrapped(getattr(os, name)))


if __name__ == "__main__":
    main()
