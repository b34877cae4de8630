"""What is looked for: a text, a pattern, or the distinctive lines of a file, in every form it is stored in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import orjson
import re2

from codeintel_core.errors import InvalidRequest
from codeintel_core.secrets.purged import pattern_finder
from codeintel_core.secrets.redaction import mask_spans

MIN_TEXT_CHARS = 8
_MIN_LINE_CHARS = 16
_MAX_LINES = 200


@dataclass(frozen=True, slots=True)
class Needle:
    """Finds and masks in bytes, whether they are text or JSON that quotes it."""

    pattern: str
    matches_lines: bool = False
    """Whether it may match over the end of a line."""

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where it stands."""
        return list(pattern_finder(self.pattern)(data)) if self.pattern else []

    def mask(self, data: bytes) -> bytes:
        """`data` of the same length without it."""
        return mask_spans(data, self.spans(data))

    def mask_text(self, text: str) -> str:
        """The same for text."""
        return self.mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def of_text(text: str) -> Needle:
    """A text as it is; raises `InvalidRequest` when it is so short that it would hit half of the home."""
    if len(text.strip()) < MIN_TEXT_CHARS:
        raise InvalidRequest(f"a text to purge has {MIN_TEXT_CHARS} characters or more")
    if "\n" in text or "\r" in text:
        raise InvalidRequest("a text to purge is one line; purge several lines one by one, or the file by --path")
    return Needle("|".join(map(_latin, forms(text))))


def of_pattern(pattern: str) -> Needle:
    """An RE2 pattern; raises `InvalidRequest` when it is invalid or holds the very text that it is to remove."""
    try:
        find = pattern_finder(pattern)
        options = re2.Options()
        options.log_errors = False
        matches_nothing = re2.compile(pattern, options).search("") is not None
    except re2.error as error:
        raise InvalidRequest(f"not an RE2 pattern: {str(error)[:200]}") from None
    if matches_nothing:
        raise InvalidRequest("the pattern matches the empty text; it would mask nothing or everything")
    if any(find(pattern.encode())):
        raise InvalidRequest("the pattern matches itself and is kept to stop the text from coming back; use --text")
    return Needle(pattern, matches_lines=True)


def of_lines(lines: Iterable[str]) -> Needle:
    """Lines long enough to tell where they come from."""
    kept = sorted({line.strip() for line in lines if len(line.strip()) >= _MIN_LINE_CHARS}, key=len, reverse=True)
    return Needle("|".join(form for line in kept[:_MAX_LINES] for form in map(_latin, forms(line))))


def forms(text: str) -> list[str]:
    """The text itself, and how JSON may write it."""
    return list(dict.fromkeys((text, orjson.dumps(text).decode()[1:-1], json.dumps(text)[1:-1])))


def _latin(text: str) -> str:
    """An RE2 pattern of the UTF-8 bytes of a text."""
    return "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\x{byte:02x}" for byte in text.encode())
