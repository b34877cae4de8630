"""Signals of an answer: what retrieval knows about its first citation, each a number that confidence is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

from codeintel_core.analysis import STOP_WORDS, held_terms, query_terms
from codeintel_core.retrieval.channels import DENSE, LEXICAL
from codeintel_core.retrieval.engine import Hit

SIGNALS: dict[str, Callable[[float], str]] = {
    "words": lambda value: f"it holds {value:.0%} of the question's words",
    "lead": lambda value: f"it leads the next hit by {value**2:.0%}",
    "agreement": lambda value: f"words and meaning agree on it at {value:.2f} (1: both rank it first)",
    "defines": lambda value: f"it {'defines' if value else 'does not define'} a name that was asked",
}
"""Every signal by name, and how its value is told. No cosine: each embedding model has its own scale."""
_MAX_LEAD = 0.5


def signals(question: str, hits: Sequence[Hit], first: Hit) -> dict[str, float]:
    """The signals of the hit that is cited first, out of all hits. Each is 0 when nothing speaks for the hit."""
    next_best = max((hit.score for hit in hits if hit is not first), default=0.0)
    lead = (first.score - next_best) / first.score if first.score > 0 else 0.0
    return {
        "words": held_share(question, first),
        "lead": math.sqrt(min(_MAX_LEAD, max(0.0, lead))),
        "agreement": math.prod(
            1 / first.channels[name].rank if name in first.channels else 0.0 for name in (LEXICAL, DENSE)
        ),
        "defines": float(first.explain.get("defines", 0.0) > 0),
    }


@lru_cache(maxsize=2_000)  # one answer asks several times
def _held_share(asked: frozenset[str], symbol: str, path: str, text: str) -> float:
    return len(held_terms(asked, symbol, path, text)) / len(asked) if asked else 0.0


def held_share(question: str, hit: Hit) -> float:
    """Share of the question's terms without stop words that a hit holds in its symbol, path or text."""
    chunk = hit.chunk
    return _held_share(_asked(question), chunk.symbol, chunk.path, chunk.text)


@lru_cache(maxsize=256)
def _asked(question: str) -> frozenset[str]:
    return frozenset(query_terms(question)) - STOP_WORDS
