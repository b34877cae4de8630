"""Targets of the `read` tool parse to what they name, and nothing else parses."""

from __future__ import annotations

import pytest

from codeintel_core.errors import InvalidRequest
from codeintel_serving.mcp.targets import parse


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("shop:a/b.py", ("shop", "a/b.py", 1, None)),
        ("shop:a/b.py:7", ("shop", "a/b.py", 7, 7)),
        ("shop:a/b.py:7-9", ("shop", "a/b.py", 7, 9)),
        ("shop:a:b.py:7-9", ("shop", "a:b.py", 7, 9)),
        ("shop:a/b.py:x", ("shop", "a/b.py:x", 1, None)),
    ],
)
def test_forms(target: str, expected: tuple[str, str, int, int | None]) -> None:
    request = parse(target)
    assert (request.repo, request.path, request.start_line, request.end_line) == expected


@pytest.mark.parametrize("target", ["", "shop", ":a", "shop:", "shop:a:0-4", "shop:a:1-99999999"])
def test_refused(target: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(target)
