"""Untrusted text is made plain, and error texts lose the paths of this machine."""

from __future__ import annotations

import pytest

from codeintel_serving.display import inline, printable, without_server_paths


def test_printable_drops_what_a_terminal_or_reader_would_act_on() -> None:
    assert printable("plain\r\x7f \ud800\n") == "plain \n"
    assert printable("a\x1b[31mb\u200bc\u202ed\té\n") == "a[31mbcd\té\n"


def test_inline_cannot_open_citations_links_or_tags() -> None:
    shown = inline("see [1](http://x) `code`\n![i](y) <b>")
    assert not set(shown) & set("[]<>`\n")


def test_inline_is_cut() -> None:
    assert inline("x" * 300, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot read /home/me/.codeintel/models/a.onnx: bad", "cannot read …/a.onnx: bad"),
        ("no java in '/opt/jdk/'", "no java in '…/'"),
        ("see /openapi.json and https://x.org/a/b", "see /openapi.json and https://x.org/a/b"),
        ("dense/primary.faiss has 3 bytes", "dense/primary.faiss has 3 bytes"),
    ],
)
def test_server_paths(text: str, expected: str) -> None:
    assert without_server_paths(text) == expected
