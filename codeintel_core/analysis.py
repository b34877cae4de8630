"""The code-aware tokenizer of the lexical channel: one for both sides, documents and queries.

An identifier gives itself (lower case) and, when it has several, its camelCase, snake_case and digit parts. Parts and
plain words lose their inflection (`parsed`, `parsing` and `parses` are `pars`); whole identifiers keep every letter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

ANALYSIS_VERSION = 2
_MAX_TERM_CHARS = 64
_MIN_STEM_CHARS = 4
_MOST_LOOKED_AT = 8  # words of a text before all of them together are cheaper
_WORD = re.compile(r"[^\W]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\dA-Za-z_]+")
_VOWEL = re.compile(r"[aeiouy]")

STOP_WORDS = frozenset(
    (
        "a an and are as at be by can could do does did for from has have how i if in into is it its me my of on or "
        "our should so such that the their then there these they this to was we were what when where which who why "
        "will with would you your"
    ).split()
)
LANGUAGE_NAMES = frozenset(
    "bash c cpp csharp css go golang html java javascript js kotlin php py python ruby rust scala sql swift ts "
    "typescript".split()
)
_LANGUAGE_NAME_WEIGHT = 0.3  # who names the language means all of its code; code itself rarely says its name

# How often the terms of a field count in a document, in place of separate fields: one term space needs one set
# of statistics, which also holds across repositories. A docstring counts once more beside the text that holds it.
_NAME_WEIGHT = 3
_PATH_WEIGHT = 2
_DOCSTRING_WEIGHT = 1


def terms(text: str) -> list[str]:
    """Terms of a text in order, whole identifiers followed by their parts."""
    out: list[str] = []
    for word in _WORD.findall(text):
        out.extend(_terms_of_word(word))
    return out


def distinct_terms(*texts: str) -> frozenset[str]:
    """The terms of several texts, each once."""
    return frozenset(chain.from_iterable(map(_terms_of_word, set(_WORD.findall("\n".join(texts))))))


def held_terms(wanted: frozenset[str], *texts: str) -> frozenset[str]:
    """`wanted & distinct_terms(*texts)`, without the terms of all words when a few of them decide."""
    text = "\n".join(texts)
    if not text.isascii() or not all(map(str.isascii, wanted)):  # a letter may be several in lower case
        return wanted & distinct_terms(text)
    lowered = text.lower()
    held = {term: _is_held(term, text, lowered) for term in wanted}
    if None in held.values():
        return wanted & distinct_terms(text)
    return frozenset(term for term, is_there in held.items() if is_there)


def _is_held(term: str, text: str, lowered: str) -> bool | None:
    """Whether a word of the text has the term; None when the words that may have it are many.

    A word that has it holds its letters: stems only lose their end, or get a `y` for it.
    """
    letters, at = term.removesuffix("y"), -1
    for _ in range(_MOST_LOOKED_AT):
        at = lowered.find(letters, at + 1)
        if at < 0:
            return False
        start, end = at, at + len(letters)
        while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        while end < len(text) and (text[end].isalnum() or text[end] == "_"):
            end += 1
        if term in _terms_of_word(text[start:end]):
            return True
        at = end
    return None


def document_terms(*, symbol: str, path: str, text: str, docstring: str = "") -> list[str]:
    """Terms of a chunk: its text, its symbol and path at a higher weight, and its docstring once more."""
    return (
        terms(text) + terms(symbol) * _NAME_WEIGHT + terms(path) * _PATH_WEIGHT + terms(docstring) * _DOCSTRING_WEIGHT
    )


def query_terms(query: str) -> list[str]:
    """Terms of a query; stop words go unless nothing else is left."""
    return [term for term, _ in weighted_terms(query)]


def weighted_terms(query: str) -> list[tuple[str, float]]:
    """Terms of a query, each with its weight: language names count little, stop words not at all.

    Repeated terms are kept; `unique` or a dictionary removes them.
    """
    words = _WORD.findall(query)
    kept = [word for word in words if word.lower() not in STOP_WORDS] or words
    return [
        (term, _LANGUAGE_NAME_WEIGHT if word.lower() in LANGUAGE_NAMES else 1.0)
        for word in kept
        for term in _terms_of_word(word)
    ]


def word_parts(text: str) -> frozenset[str]:
    """The stemmed parts of the identifiers in a short text such as a file's stem or a symbol."""
    return frozenset(stem(part.lower()) for word in _WORD.findall(text) for part in _PART.findall(word))


def unique(items: Sequence[str]) -> list[str]:
    """Items without repeats, in order of first appearance."""
    return list(dict.fromkeys(items))


@lru_cache(131_072)
def stem(word: str) -> str:
    """A lower-case word without plural, -ing, -ed and final -e; short words and what has no vowel left stay.

    Lighter than Porter: only inflection goes, so `parser` and `parse` stay apart.
    """
    if len(word) < _MIN_STEM_CHARS or not (word.isascii() and word.isalpha()):
        return word
    word = _singular(word)
    if len(word) <= _MIN_STEM_CHARS:
        return word
    for suffix in ("ing", "ed"):
        base = word.removesuffix(suffix)
        if base != word and len(base) >= 3:
            if not _VOWEL.search(base):
                return word
            is_doubled = len(base) > 3 and base[-1] == base[-2] and base[-1] not in "lsz"
            return (base[:-1] if is_doubled else base).removesuffix("e")
    return word.removesuffix("e")


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > _MIN_STEM_CHARS:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@lru_cache(131_072)
def _terms_of_word(word: str) -> tuple[str, ...]:
    whole = word.lower()[:_MAX_TERM_CHARS]
    if not whole.strip("_"):
        return ()
    parts = _PART.findall(word)
    if len(parts) > 1 or (parts and parts[0].lower() != whole):
        return whole, *(stem(part.lower()[:_MAX_TERM_CHARS]) for part in parts)
    return (stem(whole),)
