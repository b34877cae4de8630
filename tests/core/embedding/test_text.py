"""What is embedded of a chunk depends on its symbol and its text only."""

from __future__ import annotations

import inspect

from codeintel_core.embedding.text import embedded_text


def test_a_symbol_comes_first_with_its_words() -> None:
    line, text = embedded_text("def …", symbol="HTTPServer.read_lines2").split("\n")
    assert line == "HTTPServer.read_lines2 HTTP Server read lines 2"
    assert text == "def …"


def test_a_chunk_without_symbol_is_its_text() -> None:
    assert embedded_text("# notes\n") == "# notes\n"


def test_no_path_gets_in() -> None:
    assert set(inspect.signature(embedded_text).parameters) == {"text", "symbol"}
