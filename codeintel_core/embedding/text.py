"""What is embedded of a chunk. Never its path, so that a rename or a copy costs no embedding."""

from __future__ import annotations

TEXT_VERSION = 1
"""Raised by every change of `embedded_text`; part of the embedding contract."""


def embedded_text(text: str, symbol: str = "") -> str:
    """The text to embed for a chunk: its qualified symbol on a line of its own, then its exact text."""
    return f"{symbol}\n{text}" if symbol else text
