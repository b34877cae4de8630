"""Indexed text and error texts are untrusted where people or models read them: what is shown is made plain here."""

from __future__ import annotations

import re
import unicodedata

_SERVER_PATH = re.compile(r"(?<![\w/:.])/(?:[^\s/:;,'\"()]+/)+([^\s/:;,'\"()]*)")
_PLAIN = re.compile(r"[\w.,:;=+*/-]+(?: [\w.,:;=+*/-]+)*", re.ASCII)  # of most names and paths: it stays as it is
_INERT = str.maketrans("[]<>`", "()‹›'")  # noqa: RUF001 (look-alikes are the point)
_CONTROL = {"Cc", "Cf", "Co", "Cs"}  # C0/C1 controls, zero-width and bidi marks, private use, surrogates
_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def printable(text: str) -> str:
    """`text` without control, zero-width and bidirectional characters; tabs and line feeds stay."""
    if text.isascii() and not _ASCII_CONTROL.search(text):
        return text
    gone = [c for c in set(text) if c not in "\t\n" and unicodedata.category(c) in _CONTROL]  # nearly always none
    return text.translate(dict.fromkeys(map(ord, gone))) if gone else text


def inline(text: str, limit: int = 200) -> str:
    """`text` as one quotable line: plain, blanks collapsed, no character that could open a citation, link or tag."""
    if len(text) <= limit and _PLAIN.fullmatch(text):
        return text
    line = " ".join(printable(text).split())
    line = line.translate(_INERT)
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def without_server_paths(text: str) -> str:
    """`text` with absolute paths of this machine cut down to their last part."""
    return _SERVER_PATH.sub(r"…/\1", text)
