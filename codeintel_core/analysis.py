"""The code-aware tokenizer of the lexical channel: one for both sides, documents and queries.

An identifier gives itself (lower case) and, when it has several, its camelCase, snake_case and digit parts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ANALYSIS_VERSION = 1
_MAX_TERM_CHARS = 64
_WORD = re.compile(r"[^\W]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")

STOP_WORDS = frozenset(
    (
        "a an and are as at be by can could do does did for from has have how i if in into is it its me my of on or "
        "our should so such that the their then there these they this to was we were what when where which who why "
        "will with would you your"
    ).split()
)

# How often the terms of a field count in a document, in place of separate fields: one term space needs one set
# of statistics, which also holds across repositories.
_NAME_WEIGHT = 3
_PATH_WEIGHT = 1


def terms(text: str) -> list[str]:
    """Terms of a text in order, whole identifiers followed by their parts."""
    out: list[str] = []
    for word in _WORD.findall(text):
        parts = _PART.findall(word)
        whole = word.lower()[:_MAX_TERM_CHARS]
        if whole.strip("_"):
            out.append(whole)
        if len(parts) > 1 or (parts and parts[0].lower() != whole):
            out.extend(part.lower()[:_MAX_TERM_CHARS] for part in parts)
    return out


def document_terms(*, symbol: str, path: str, text: str) -> list[str]:
    """Terms of a chunk: its text, its symbol at a higher weight, and its path."""
    return terms(text) + terms(symbol) * _NAME_WEIGHT + terms(path) * _PATH_WEIGHT


def query_terms(query: str) -> list[str]:
    """Terms of a query; stop words go unless nothing else is left."""
    found = terms(query)
    return [term for term in found if term not in STOP_WORDS] or found


def unique(items: Sequence[str]) -> list[str]:
    """Items without repeats, in order of first appearance."""
    return list(dict.fromkeys(items))
