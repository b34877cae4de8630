"""Who may reach the server: without access control it listens on this machine only."""

from __future__ import annotations

import ipaddress
import socket

from codeintel_core.errors import InvalidRequest


def listen(host: str, port: int) -> socket.socket:
    """A listening socket on a loopback address.

    Raises:
        InvalidRequest: another address, or a port that is in use or not allowed.
    """
    if not _is_loopback(host):
        raise InvalidRequest(
            f"refusing to listen on {host}: there is no access control yet; use 127.0.0.1, ::1 or localhost "
            "and put an authenticating proxy in front"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"cannot listen on {host}:{port} ({error.strerror}); stop what uses it or choose another with --port"
        ) from None
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
