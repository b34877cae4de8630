"""The query profile: what kind of question this is, from cheap features; it decides the weight of each channel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from codeintel_core.analysis import STOP_WORDS

_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]*(::\w+|->\w+)*(\(\))?")
_CODE_WORD = re.compile(r"\b(\w*[a-z0-9][A-Z]\w*|\w+_\w+|\w+\.\w+\.\w+|\w+\(\)|[A-Z]{2}\w*[a-z]\w*)")
_PATH = re.compile(
    r"[\w.-]*/[\w./-]+|[\w-]+\.(py|js|ts|tsx|java|go|rs|c|cc|cpp|h|cs|rb|php|kt|scala|swift|sql|md|toml)"
)
_ERROR = re.compile(r"(Error|Exception|Traceback|panic|errno|failed with|fatal)\b|^\s*at \w|line \d+", re.I)


class QueryKind(StrEnum):
    """Kinds of query."""

    IDENTIFIER = "identifier"
    PATH = "path"
    ERROR = "error"
    NATURAL = "natural"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class QueryProfile:
    """Kind of the query and the share of the lexical channel in the fused score (0..1)."""

    kind: QueryKind
    lexical_weight: float


_LEXICAL_WEIGHT = {
    QueryKind.IDENTIFIER: 0.7,
    QueryKind.PATH: 0.7,
    QueryKind.ERROR: 0.5,
    QueryKind.MIXED: 0.5,
    QueryKind.NATURAL: 0.3,
}


def profile(query: str) -> QueryProfile:
    """Classify a query."""
    kind = _kind(query.strip())
    return QueryProfile(kind, _LEXICAL_WEIGHT[kind])


def _kind(query: str) -> QueryKind:
    words = query.split()
    if len(words) == 1:
        if _PATH.fullmatch(query):
            return QueryKind.PATH
        if _IDENTIFIER.fullmatch(query):
            return QueryKind.IDENTIFIER
    if _ERROR.search(query) and (":" in query or "\n" in query or len(words) > 6):
        return QueryKind.ERROR
    if _CODE_WORD.search(query):
        is_prose = sum(word.lower() in STOP_WORDS for word in words) >= 2
        return QueryKind.MIXED if is_prose or len(words) > 4 else QueryKind.IDENTIFIER
    return QueryKind.NATURAL
