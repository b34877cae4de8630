"""Hands over the rows of the home and is killed once the bucket has them, before that is noted: run by test_handover.

The settings are in the environment.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from codeintel_core.objects import segments, shared
from codeintel_core.settings import get_settings


def main() -> None:
    put = segments.put

    def put_and_die(*rows: Any) -> None:
        put(*rows)
        os.kill(os.getpid(), signal.SIGKILL)

    segments.put = put_and_die  # type: ignore[assignment]
    handover = shared.handover(get_settings())
    assert handover is not None
    handover.run()


if __name__ == "__main__":
    main()
