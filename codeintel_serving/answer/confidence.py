"""Confidence: how well the best hits match, how clear the winner is, and what was verified; with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from codeintel_core.analysis import STOP_WORDS, document_terms, query_terms
from codeintel_core.retrieval.channels import DENSE
from codeintel_core.retrieval.engine import Hit
from codeintel_serving.models import Confidence

# Cosines of the embedded model: unrelated texts lie below the first, close paraphrases above the second.
_COSINE_UNRELATED, _COSINE_CLOSE = 0.2, 0.6
_WEAK = 0.35
_CLEAR_MARGIN = 0.25


def relevance(question: str, hit: Hit) -> float:
    """How well one hit matches, 0..1: the mean of the share of query terms it holds and its scaled cosine.

    Unlike fused scores, which only rank, this is comparable between questions.
    """
    asked = {term for term in query_terms(question) if term not in STOP_WORDS}
    chunk = hit.chunk
    held = asked & _terms(chunk.symbol, chunk.path, chunk.text)
    share = len(held) / len(asked) if asked else 0.0
    if DENSE not in hit.channels:
        return share
    scaled = (hit.channels[DENSE].score - _COSINE_UNRELATED) / (_COSINE_CLOSE - _COSINE_UNRELATED)
    return 0.5 * share + 0.5 * min(1.0, max(0.0, scaled))


@lru_cache(maxsize=2_000)
def _terms(symbol: str, path: str, text: str) -> frozenset[str]:
    """Terms of a chunk; one answer asks several times, and good chunks come back."""
    return frozenset(document_terms(symbol=symbol, path=path, text=text))


def is_weak(question: str, hits: Sequence[Hit]) -> bool:
    """Whether nothing among the best hits deserves to be called an answer."""
    return max((relevance(question, hit) for hit in hits[:3]), default=0.0) < _WEAK


def assess(
    question: str,
    hits: Sequence[Hit],
    cited: Sequence[Hit],
    *,
    dropped: int,
    degraded: Sequence[str],
    cited_share: float | None = None,
) -> Confidence:
    """Confidence in an answer that cites `cited` out of `hits` (best first).

    `cited_share`: of a generated answer, the share of its statements that carry a citation.
    """
    if not cited:
        return Confidence(value=0.0, reasons=["nothing could be cited"])
    best = max(relevance(question, hit) for hit in cited)
    scores = sorted((hit.score for hit in hits), reverse=True)  # a reranker may have changed the order
    second = scores[1] / scores[0] if len(scores) > 1 else 0.0
    margin = min(1.0, (1 - second) / _CLEAR_MARGIN)
    agreement = sum(len(hit.channels) > 1 for hit in cited) / len(cited)
    verified = len(cited) / (len(cited) + dropped)
    value = (0.6 * best + 0.15 * margin + 0.25 * agreement) * verified * (0.8 if degraded else 1.0)
    reasons = [
        f"the best citation matches the question at {best:.0%}",
        f"the best hit leads the second by {1 - second:.0%}",
        f"{agreement:.0%} of the citations were found by more than one channel",
        f"{verified:.0%} of the chosen citations equal the pinned source",
    ]
    if cited_share is not None:
        value *= 0.5 + 0.5 * cited_share
        reasons.append(f"{cited_share:.0%} of the generated statements carry a citation")
    reasons += [f"the {name} channel did not complete" for name in degraded]
    return Confidence(value=round(min(1.0, value), 3), reasons=reasons)
