"""Whether a value looks like a secret: the second look where a name such as `token = "…"` alone says little."""

from __future__ import annotations

import math
import re
from collections import Counter

_PLACEHOLDER = re.compile(rb"\$[\w({]|%[(sd{]|\{\{|\}\}|\{[\w.]*\}|<[\w -]+>|\.\.\.|x{4,}|\*{3,}", re.I)
_WORD = re.compile(rb"[a-z]*\d{0,4}|[A-Z]+\d{0,4}|(?:[A-Z]?[a-z]+|[A-Z]{2,4})+\d{0,4}|v?\d{1,4}|[a-z]+\d[a-z]+")
_SPLIT = re.compile(rb"[-_./:,;@#+=~\\\[\]()?&|!%]+")
_DUMMY = re.compile(
    rb"(?:your|my|the|some|any|new|old|test|fake|dummy|sample|example|default|change|super|very|not|insert|replace|"
    rb"top|user|admin|root|guest|foo|bar|baz|qux|abc|secret|token|key|pass(?:word|wd)?|pwd|api|auth|me|a|xxx|here|"
    rb"value|string|none|null|true|false|placeholder|redacted|hunter|[-_ .]|\d{0,4})+",
    re.I,
)
_MIN_ENTROPY = 3.0  # bits per character; English identifiers stay mostly below, 16 random characters above
_HEX = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
_MIN_HEX = 24


def entropy(value: bytes) -> float:
    """Shannon entropy of the bytes, in bits per byte."""
    total = len(value)
    return -sum(n / total * math.log2(n / total) for n in Counter(value).values()) if total else 0.0


def is_random(value: bytes) -> bool:
    """Letters and digits mixed as no name or number is: a token, key or generated password."""
    if len(value) < 12 or _is_readable(value):
        return False
    digits = sum(48 <= byte < 58 for byte in value)
    letters = sum(chr(byte).isalpha() for byte in value)
    if digits < 2 or letters < 2:
        return False
    if _HEX.fullmatch(value):
        return len(value) >= _MIN_HEX and entropy(value) >= _MIN_ENTROPY
    return entropy(value) >= _MIN_ENTROPY


def is_password(value: bytes) -> bool:
    """A password somebody chose: letters with digits or marks, and no placeholder or name."""
    if _is_readable(value):
        return False
    has_letter = any(chr(byte).isalpha() for byte in value)
    has_other = any(not chr(byte).isalpha() for byte in value)
    return has_letter and has_other and len(set(value)) >= 5


def is_url_password(value: bytes) -> bool:
    """The password of a URL, unless it is a placeholder."""
    return not _PLACEHOLDER.search(value) and not _DUMMY.fullmatch(value) and len(set(value)) >= 3


def is_header_token(value: bytes) -> bool:
    """The credentials of an Authorization header, unless they are a placeholder."""
    return not _PLACEHOLDER.search(value) and not _DUMMY.fullmatch(value) and entropy(value) >= _MIN_ENTROPY


def _is_readable(value: bytes) -> bool:
    """A placeholder, a name, a path or a sentence: something that a person reads."""
    if _PLACEHOLDER.search(value) or _DUMMY.fullmatch(value) or b"://" in value or value[:1] in b"$%{<@/":
        return True
    return all(_WORD.fullmatch(part) for part in _SPLIT.split(value))
