"""Search modes: which channels a query may use, and the patterns that are looked for as they are written."""

from __future__ import annotations

import re
from enum import StrEnum

from codeintel_core import patterns
from codeintel_core.patterns import Pattern
from codeintel_core.retrieval.channels import DENSE, EXACT, LEXICAL, REGEX, SPARSE, SYMBOLS
from codeintel_core.retrieval.profile import QueryKind, QueryProfile

_HYBRID = (DENSE, LEXICAL, SYMBOLS, SPARSE)
_MAX_PHRASES = 2
_MIN_PHRASE_CHARS = 8
_QUOTED = re.compile(r"""(?<!\w)(["'`])(?P<phrase>[^"'`\n]{8,200})\1(?!\w)""")
_VALUE = re.compile(r"""["'`<\[{][^"'`\n]*["'`>\]}]|\S*\d\S*|\S*/\S*|^\s*[\w.]*(?:Error|Exception)\b:?|[:;,.]\s""")
_MIN_WORDS = 3


class Mode(StrEnum):
    """Which channels answer."""

    AUTO = "auto"  # hybrid, and exact for what the query quotes
    HYBRID = "hybrid"
    LEXICAL = "lexical"
    SEMANTIC = "semantic"
    SPARSE = "sparse"
    EXACT = "exact"
    REGEX = "regex"


CHANNELS_OF: dict[Mode, tuple[str, ...]] = {
    Mode.AUTO: (*_HYBRID, EXACT),
    Mode.HYBRID: _HYBRID,
    Mode.LEXICAL: (LEXICAL,),
    Mode.SEMANTIC: (DENSE,),
    Mode.SPARSE: (SPARSE,),
    Mode.EXACT: (EXACT,),
    Mode.REGEX: (REGEX,),
}
"""Channels of each mode; those of one alone must be there."""


def patterns_of(mode: Mode, query: str, profile: QueryProfile) -> tuple[Pattern, ...]:
    """What the exact and regex channels look for; raises `InvalidPattern`."""
    if mode is Mode.EXACT:
        return (patterns.literal(query),)
    if mode is Mode.REGEX:
        return (patterns.regex(query),)
    return tuple(map(patterns.literal, phrases(query, profile))) if mode is Mode.AUTO else ()


def phrases(query: str, profile: QueryProfile) -> list[str]:
    """Text that a query quotes, and the fixed parts of an error text: several words, longest first."""
    found = [match["phrase"].strip() for match in _QUOTED.finditer(query)]
    if profile.kind is QueryKind.ERROR:
        found += [part.strip(" :;,.") for line in query.splitlines() for part in _VALUE.split(line) if part]
        found = [phrase for phrase in found if len(phrase.split()) >= _MIN_WORDS]
    several = {phrase for phrase in found if len(phrase) >= _MIN_PHRASE_CHARS and not phrase.isidentifier()}
    return sorted(several, key=lambda phrase: (-len(phrase), phrase))[:_MAX_PHRASES]
