"""The blend: words and vectors share the score by how sure each is, and say why."""

from __future__ import annotations

import numpy as np
import pytest

from codeintel_core.retrieval.blend import blend
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.retrieval.profile import profile

_PROSE = profile("how are torn lines handled")


def _ranked(*scores: float) -> Ranked:
    return np.arange(len(scores)), np.array(scores, np.float32)


def _share(lexical: Ranked, dense: Ranked) -> float:
    return blend(_PROSE, {"lexical": lexical, "dense": dense}).weights["lexical"]


def test_words_count_more_when_their_best_hit_stands_out() -> None:
    assert _share(_ranked(9, *[2] * 9), _ranked(0.7)) > _share(_ranked(9, *[8] * 9), _ranked(0.7))


def test_words_count_more_when_vectors_are_unsure() -> None:
    assert _share(_ranked(9, 8), _ranked(0.3)) > _share(_ranked(9, 8), _ranked(0.8))


@pytest.mark.parametrize("lexical", [_ranked(1e9, *[1e-9] * 20), _ranked(0, 0), _ranked(5)])
@pytest.mark.parametrize("cosine", [-1.0, 0.0, 1.0])
def test_neither_is_ever_silenced(lexical: Ranked, cosine: float) -> None:
    assert 0.1 <= _share(lexical, _ranked(cosine)) <= 0.6


def test_an_identifier_leans_on_words_whatever_the_channels_say() -> None:
    found = blend(profile("parse_header"), {"lexical": _ranked(1, 1), "dense": _ranked(0.99)})
    assert found.weights["lexical"] > 0.5
    assert found.reason == "identifier query"


def test_a_missing_channel_leaves_the_usual_share() -> None:
    assert blend(_PROSE, {"lexical": _ranked(3)}).weights["lexical"] == _PROSE.lexical_weight


def test_a_fixed_share_overrides() -> None:
    assert blend(_PROSE, {}, 0.4).weights["lexical"] == 0.4
