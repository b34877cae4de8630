"""RM3: a second pass of the lexical channel, its query widened by what the best chunks of the first pass say.

Lavrenko and Croft (2001), Abdul-Jaleel et al. (2004). The text of those chunks comes from the catalog, so the Lucene
index needs no term vectors, and a searcher keeps no state of a query. Numbers and reasons: docs/retrieval.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from codeintel_core.analysis import document_terms
from codeintel_core.catalog import ChunkRow

DOCUMENTS = 10
_TERMS = 10
_ORIGINAL_SHARE = 0.9
_MIN_TERM_CHARS = 3
_MAX_DOCUMENT_SHARE = 0.1  # a term of more chunks than this tells nothing
_BATCH = 20


def expanded(
    query: Mapping[str, float],
    chunks: Sequence[tuple[ChunkRow, float]],
    frequencies: Callable[[Sequence[str]], Sequence[int]],
    documents: int,
) -> dict[str, float]:
    """The query's terms and the ten that describe the first pass best, with weights that sum to 1.

    Args:
        query: term -> weight.
        chunks: the best chunks of the first pass, each with its score (> 0).
        frequencies: terms -> in how many chunks of the index each occurs.
        documents: chunks in the index.
    """
    total = sum(query.values())
    weights = {term: _ORIGINAL_SHARE * weight / total for term, weight in query.items()}
    relevance = _relevance(chunks)
    chosen = dict(islice(_telling(relevance, frequencies, documents), _TERMS))
    found = sum(chosen.values())
    for term, weight in chosen.items():
        weights[term] = weights.get(term, 0.0) + (1 - _ORIGINAL_SHARE) * weight / found
    return weights


def _relevance(chunks: Sequence[tuple[ChunkRow, float]]) -> dict[str, float]:
    """P(term | relevance): the term's share of each chunk, weighted by the chunk's score."""
    total = sum(score for _, score in chunks)
    found: dict[str, float] = {}
    for chunk, score in chunks:
        terms = document_terms(symbol=chunk.symbol, path=chunk.path, text=chunk.text, docstring=chunk.docstring)
        for term in terms:
            if len(term) >= _MIN_TERM_CHARS and not term.isdigit():
                found[term] = found.get(term, 0.0) + score / total / len(terms)
    return found


def _telling(
    relevance: Mapping[str, float], frequencies: Callable[[Sequence[str]], Sequence[int]], documents: int
) -> Iterator[tuple[str, float]]:
    """Terms by falling relevance, without those of a single chunk or of too many."""
    order = sorted(relevance, key=lambda term: (-relevance[term], term))
    for start in range(0, len(order), _BATCH):
        some = order[start : start + _BATCH]
        for term, frequency in zip(some, frequencies(some), strict=True):
            if 1 < frequency <= _MAX_DOCUMENT_SHARE * documents:
                yield term, relevance[term]
