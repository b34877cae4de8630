"""Signal handlers of this process that a library replaces from C, where Python's `signal` does not see them."""

from __future__ import annotations

import ctypes
import signal
from collections.abc import Iterator
from contextlib import contextmanager

_OF_THE_JVM = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_MOST_BYTES = 512  # of a C `struct sigaction`: 152 on Linux


def handlers() -> dict[int, bytes]:
    """What the C library has for the signals by which a JVM stops its own threads, as opaque bytes."""
    found = {}
    for number in _OF_THE_JVM:
        action = ctypes.create_string_buffer(_MOST_BYTES)
        _sigaction(number, None, action)
        found[int(number)] = action.raw
    return found


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Put them back at the end.

    Ray has handlers of its own from `init` on and none from `shutdown` on. A JVM in this process, whose threads run
    into a protected page on purpose when they are to wait, would then end the process at its next garbage collection.
    """
    before = handlers()
    try:
        yield
    finally:
        for number, action in before.items():
            _sigaction(number, action, None)


def _sigaction(number: int, new: bytes | None, old: ctypes.Array[ctypes.c_char] | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.sigaction(int(number), new, old) != 0:
        raise OSError(ctypes.get_errno(), f"the handler of signal {number} cannot be read or set")
