"""What is embedded of a chunk. Never its path, so that a rename or a copy costs no embedding.

Measured (int8, nDCG@10; `ctx-codebase-chunks` / CoSQA dev): text alone .576 / .600, symbol before it .606 / .594,
symbol and its words .622 / .594. The words help chunks from the middle of a file, the common case here.
"""

from __future__ import annotations

import re

TEXT_VERSION = 2
"""Raised by every change of `embedded_text`; part of the embedding contract."""

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def embedded_text(text: str, symbol: str = "") -> str:
    """The text to embed for a chunk: a line with its qualified symbol and the words in it, then its exact text."""
    return f"{symbol} {' '.join(_WORD.findall(symbol))}\n{text}" if symbol else text
