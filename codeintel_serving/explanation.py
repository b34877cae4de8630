"""How a score came about, as a small table: each channel's rank, score and weight, then what each prior added."""

from __future__ import annotations

from codeintel_serving.models import SearchHit


def explanation_lines(hit: SearchHit) -> list[str]:
    """The lines of the table, none when the hit was not asked to explain itself; `fused` and the priors make the sum.

    Ranks start at 1; scores are the channel's own and not comparable between channels.
    """
    why = hit.explanation
    if why is None:
        return []
    channels = [
        f"{name:<12} rank {at.rank:<4} score {at.score:>10.4f}  weight {why.weights.get(name, 0.0):.2f}"
        for name, at in sorted(hit.channels.items(), key=lambda one: one[1].rank)
    ]
    sums = [("fused", why.fused), *why.priors.items(), ("= score", hit.score)]
    tuned = [f"{'weights':<12} tuned by {why.tuning_id}"] if why.tuning_id else []
    return [*channels, *tuned, *(f"{name:<12} {value:+.4f}" for name, value in sums)]
