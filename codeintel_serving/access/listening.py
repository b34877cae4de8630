"""Where the server may be reached: without API keys it listens on this machine only."""

from __future__ import annotations

import ipaddress
import socket

from codeintel_core.errors import InvalidRequest


def listen(host: str, port: int, *, has_keys: bool = False) -> socket.socket:
    """A listening socket; on other addresses than loopback only when callers must show a key.

    Raises:
        InvalidRequest: another address and no keys, or an address or port that is in use, unknown or not allowed.
    """
    if not has_keys and not is_loopback(host):
        raise InvalidRequest(
            f"refusing to listen on {host}: there are no API keys; make one with `codeintel keys create`, "
            "or use 127.0.0.1, ::1 or localhost"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, UnicodeError) as error:
        listener.close()
        why = getattr(error, "strerror", None) or "not an address"
        raise InvalidRequest(
            f"cannot listen on {host}:{port} ({why}); stop what uses it or choose another with --port"
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
