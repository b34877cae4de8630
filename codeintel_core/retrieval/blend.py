"""The blend: which share of the fused score words get and which vectors get, and why.

An identifier, a path or an error text leans on words whatever the channels say. For prose it depends on how sure each
channel is: words count more when their best hit stands out (it beats the tenth by far), vectors count more when
their best cosine is high. Both numbers are known once the channels have answered and cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codeintel_core.retrieval.channels import DENSE, EXACT, LEXICAL, REGEX, SPARSE, SYMBOLS
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.retrieval.profile import QueryKind, QueryProfile
from codeintel_core.retrieval.tuning import UNTUNED, Tuned, tuned_weights

_MARGIN_AT = 10
_PER_MARGIN = 0.1
_PER_DOUBT = 0.5
_LEAST, _MOST = 0.1, 0.6
SYMBOLS_WEIGHT = 0.1
SPARSE_WEIGHT = 0.3  # beside words and vectors, which share 1; not measured with a trained model
EXACT_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Blend:
    """Weight of each channel and the reason for it."""

    weights: dict[str, float]
    reason: str


def blend(
    profile: QueryProfile, channels: Mapping[str, Ranked], fixed_share: float | None = None, tuned: Tuned = UNTUNED
) -> Blend:
    """Weights for the channels that completed; `fixed_share` overrides the lexical share, for comparison.

    Learned factors change what several channels share; one channel alone keeps its order whatever its weight is.
    """
    share, reason = lexical_share(profile, channels)
    if fixed_share is not None:
        share, reason = fixed_share, "fixed share"
    others = {SYMBOLS: SYMBOLS_WEIGHT, SPARSE: SPARSE_WEIGHT, EXACT: EXACT_WEIGHT, REGEX: 1.0}
    weights = {LEXICAL: share, DENSE: 1 - share, **others}
    if len(channels) > 1 and (factors := tuned.factors.get(profile.kind.value)):
        return Blend(tuned_weights(weights, factors), f"{reason}; tuned")
    return Blend(weights, reason)


def lexical_share(profile: QueryProfile, channels: Mapping[str, Ranked]) -> tuple[float, str]:
    """Share of the lexical channel (0..1) and why."""
    words, vectors = channels.get(LEXICAL), channels.get(DENSE)
    if profile.kind is not QueryKind.NATURAL:
        return profile.lexical_weight, f"{profile.kind} query"
    if words is None or vectors is None or not len(words[0]) or not len(vectors[0]):
        return profile.lexical_weight, "prose; one channel has no hits"
    lead, doubt = margin(words), 1 - float(vectors[1][0])
    share = min(_MOST, max(_LEAST, _PER_MARGIN * lead + _PER_DOUBT * doubt))
    return round(share, 4), f"prose; best word hit is {lead:.1f} times the tenth, best cosine {1 - doubt:.2f}"


def margin(words: Ranked) -> float:
    """How many times the tenth score the best one of a channel with hits is: 1 when none stands out."""
    scores = words[1]
    tenth = float(scores[min(_MARGIN_AT, len(scores)) - 1])
    return float(scores[0]) / tenth if tenth > 0 else 1.0
