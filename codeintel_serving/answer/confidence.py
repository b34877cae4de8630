"""Confidence: the calibrated probability that the first citation is relevant, what was verified, and the reasons."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from codeintel_core.retrieval import channels
from codeintel_core.retrieval.engine import Hit
from codeintel_serving.answer import calibration
from codeintel_serving.answer.signals import SIGNALS, held_share, signals
from codeintel_serving.models import Confidence

# Cosines of the embedded model: unrelated texts lie below the first, close paraphrases above the second.
_COSINE_UNRELATED, _COSINE_CLOSE = 0.2, 0.6
_WEAK = 0.35
_TOLD = 0.05  # log-odds: what changes less is not worth a reason


def relevance(question: str, hit: Hit) -> float:
    """How well one hit matches, 0..1: the mean of the share of query terms it holds and its scaled cosine.

    Unlike fused scores, which only rank, this is comparable between questions; it decides what may be cited at all.
    """
    share = held_share(question, hit)
    if channels.DENSE not in hit.channels:
        return share
    scaled = (hit.channels[channels.DENSE].score - _COSINE_UNRELATED) / (_COSINE_CLOSE - _COSINE_UNRELATED)
    return 0.5 * share + 0.5 * min(1.0, max(0.0, scaled))


def is_weak(question: str, hits: Sequence[Hit]) -> bool:
    """Whether nothing among the best hits deserves to be called an answer."""
    return max((relevance(question, hit) for hit in hits[:3]), default=0.0) < _WEAK


def assess(
    question: str,
    hits: Sequence[Hit],
    cited: Sequence[Hit],
    *,
    dropped: int,
    degraded: Collection[str],
    cited_share: float | None = None,
) -> Confidence:
    """Confidence in an answer that cites `cited` out of `hits` (best first).

    The probability is calibrated; what was dropped and what a generated text leaves uncited then lower it by their
    share, since there is no data to fit that on.

    Args:
        dropped: citations that differed from the pinned source.
        degraded: channels that did not complete; the model of what was left is used.
        cited_share: of a generated answer, the share of its statements that carry a citation.
    """
    if not cited:
        return Confidence(value=0.0, reasons=["nothing could be cited"])
    first = min(cited, key=lambda hit: hit.rank)
    model = calibration.TABLE[_retrieved_by(degraded)]
    found = signals(question, hits, first)
    probability = model.probability(found)
    added = sorted(model.contributions(found).items(), key=lambda item: -abs(item[1]))
    reasons = [f"the best citation is relevant with probability {probability:.0%}"]
    reasons += [f"{SIGNALS[name](found[name])} ({by:+.1f})" for name, by in added if abs(by) >= _TOLD]
    verified = len(cited) / (len(cited) + dropped)
    reasons.append(f"{verified:.0%} of the chosen citations equal the pinned source")
    value = probability * verified
    if cited_share is not None:
        value *= 0.5 + 0.5 * cited_share
        reasons.append(f"{cited_share:.0%} of the generated statements carry a citation")
    reasons += [f"the {name} channel did not complete" for name in degraded]
    return Confidence(value=round(value, 3), reasons=reasons)


def _retrieved_by(degraded: Collection[str]) -> str:
    if channels.DENSE in degraded:
        return calibration.LEXICAL
    return calibration.DENSE if channels.LEXICAL in degraded else calibration.HYBRID
