"""Uploads the served generation of `demo` and is killed after some objects: run as a script by test_upload.

Usage: killed_upload.py NUMBER, with the settings in the environment.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

from codeintel_core.home import Home
from codeintel_core.objects import bucket, shared
from codeintel_core.objects.bucket import Bucket
from codeintel_core.settings import get_settings


def main() -> None:
    numbers, last, upload = itertools.count(1), int(sys.argv[1]), Bucket.upload

    def counted(self: Bucket, key: str, path: Path) -> None:
        upload(self, key, path)
        if next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    Bucket.upload = counted
    bucket._PARALLEL = 2  # with more, all objects of this small generation could be on their way by then
    shared.prepare(get_settings(), Home(get_settings().home), "demo")


if __name__ == "__main__":
    main()
