"""Targets parse to what they name, and nothing else parses."""

from __future__ import annotations

import pytest

from codeintel_core.errors import InvalidRequest
from codeintel_serving.tools.targets import MAX_TARGET_CHARS, Target, parse


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("shop:a/b.py", Target("shop:a/b.py")),
        ("a/b.py", Target("a/b.py")),
        ("shop:a/b.py:7", Target("shop:a/b.py", "", 7, 7)),
        ("shop:a/b.py:7-9", Target("shop:a/b.py", "", 7, 9)),
        ("shop:a:b.py:7-9", Target("shop:a:b.py", "", 7, 9)),
        ("shop:a/b.py:x", Target("shop:a/b.py:x")),
        ("a/b.py#Class.method", Target("a/b.py", "Class.method")),
        ("a#b.py:7", Target("a#b.py", "", 7, 7)),
        ("a\nb:3", Target("a\nb", "", 3, 3)),
    ],
)
def test_forms(text: str, target: Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'repo:path'"),
        ("#symbol", "'path#symbol'"),
        ("x" * (MAX_TARGET_CHARS + 1), "'repo:path'"),
        ("shop:a:0-4", "1..10000000"),
        ("shop:a:1-99999999", "1..10000000"),
        ("shop:a:9-7", "before its start"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        parse(text)
