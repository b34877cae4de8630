"""The query profile: what kind of question this is and which names it asks for, from cheap features."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from codeintel_core.analysis import LANGUAGE_NAMES, STOP_WORDS

_IDENTIFIER = re.compile(r"[A-Za-z_][\w.]*(::\w+|->\w+)*(\(\))?")
_CODE_WORD = re.compile(r"\b(\w*[a-z0-9][A-Z]\w*|\w+_\w+|\w+\.\w+\.\w+|\w+\(\)|[A-Z]{2}\w*[a-z]\w*)")
_PATH = re.compile(
    r"[\w.-]*/[\w./-]+|[\w-]+\.(py|js|ts|tsx|java|go|rs|c|cc|cpp|h|cs|rb|php|kt|scala|swift|sql|md|toml)"
)
_ERROR = re.compile(r"(Error|Exception|Traceback|panic|errno|failed with|fatal)\b|^\s*at \w|line \d+", re.I)
_NAME = re.compile(r"`?[A-Za-z_]\w*(?:(?:\.|::|->|#)\w+)*")
_LOOKS_LIKE_CODE = re.compile(r"[a-z0-9][A-Z]|_|::|->|#|\.\w")
_SEPARATOR = re.compile(r"\.|::|->|#")
_EMBEDDED = 0.5  # a name inside a sentence is asked about, but not necessarily for its definition
_MAX_NAMES = 20
_VAGUE_WORDS = 2


class QueryKind(StrEnum):
    """Kinds of query."""

    IDENTIFIER = "identifier"
    PATH = "path"
    ERROR = "error"
    NATURAL = "natural"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class QueryProfile:
    """Kind of the query, the lexical share of the fused score for it (0..1), and the names it asks for."""

    kind: QueryKind
    lexical_weight: float
    """Before any channel has answered; `blend.lexical_share` refines it for prose."""
    names: Mapping[str, float] = field(default_factory=dict)
    """Identifiers as written -> 1 when the query is the name, 0.5 when it stands in a sentence."""
    is_vague: bool = False
    """Prose with fewer than two words that say something."""


_LEXICAL_WEIGHT = {
    QueryKind.IDENTIFIER: 0.6,
    QueryKind.PATH: 0.6,
    QueryKind.ERROR: 0.6,
    QueryKind.MIXED: 0.6,
    QueryKind.NATURAL: 0.3,
}


def profile(query: str) -> QueryProfile:
    """Classify a query."""
    query = query.strip()
    kind = _kind(query)
    telling = [word for word in query.lower().split() if word not in STOP_WORDS and word not in LANGUAGE_NAMES]
    is_vague = kind is QueryKind.NATURAL and len(telling) < _VAGUE_WORDS
    return QueryProfile(kind, _LEXICAL_WEIGHT[kind], asked_names(query), is_vague)


def asked_names(query: str) -> dict[str, float]:
    """Identifiers in a query with their strength; of a qualified name also its last part.

    In a sentence only what looks like code counts: backticks, inner capitals, underscores, separators, or a capital
    letter that does not start the sentence.
    """
    is_sentence = len(query.split()) > 1
    names: dict[str, float] = {}
    for found in _NAME.finditer(query):
        quoted, name = found[0].startswith("`"), found[0].lstrip("`")
        is_capitalised = name[:1].isupper() and found.start() > 0
        if is_sentence and not (quoted or is_capitalised or _LOOKS_LIKE_CODE.search(name)):
            continue
        strength = _EMBEDDED if is_sentence else 1.0
        for form in (name, _SEPARATOR.split(name)[-1]):
            names.setdefault(form, strength)
        if len(names) >= _MAX_NAMES:
            break
    return names


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
