"""Headers of an ASGI request, looked at as the server gives them: bytes, names in lower case.

Starlette's `Headers` encodes what is asked for and decodes what it finds, which for a few looks takes longer than the
layer that looks.
"""

from __future__ import annotations

from starlette.types import Scope


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name (in lower case), '' when there is none."""
    for key, value in scope["headers"]:
        if key == name:
            found: str = value.decode("latin-1")
            return found
    return ""


def replaced(headers: list[tuple[bytes, bytes]], *others: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The headers with these in place of those of their names."""
    names = [name for name, _ in others]
    return [one for one in headers if one[0] not in names] + list(others)
