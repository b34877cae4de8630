"""Impacts: the strongest terms survive, and what no SPLADE model can have said is refused with the reason."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.embedding.sparse.contract import IMPACTS_PER_UNIT, MAX_WEIGHT, impacts_of

_WEIGHTS = st.dictionaries(st.integers(0, 999), st.floats(0, MAX_WEIGHT), max_size=30)


@given(_WEIGHTS, st.integers(1, 40))
def test_the_strongest_terms_are_kept_in_order_of_their_ids(weights: dict[int, float], most: int) -> None:
    found = impacts_of(list(weights), list(weights.values()), vocabulary=1000, most=most)
    impacts = {term: round(weight * IMPACTS_PER_UNIT) for term, weight in weights.items()}
    strongest = sorted((-impact, term) for term, impact in impacts.items() if impact)[:most]
    assert found.tolist() == sorted([term, -impact] for impact, term in strongest)
    assert found.dtype == np.int32


@pytest.mark.parametrize(
    ("terms", "weights", "reason"),
    [
        ([1, 2], [1.0, float("nan")], "not finite"),
        ([1], [float("inf")], "not finite"),
        ([1, 2], [1.0, -0.1], "negative weights: it is not a sparse"),
        ([1], [1e6], "a weight of 1e+06; sparse weights are 0..100"),
        ([1000], [1.0], "outside its vocabulary of 1000"),
        ([-1], [1.0], "outside its vocabulary"),
        ([3, 3], [1.0, 1.0], "a term twice"),
        ([1, 2], [1.0], "not one weight for each term"),
        (["a"], [1.0], "not numbers"),
        ([1], [None], "not finite"),
        ([2**70], [1.0], "not numbers"),
    ],
)
def test_what_no_sparse_model_says_is_refused(terms: list[object], weights: list[object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace("+", r"\+").replace("..", r"\.\.")):
        impacts_of(terms, weights, vocabulary=1000, most=10)


def test_no_terms_are_no_impacts() -> None:
    assert impacts_of([], [], vocabulary=10, most=5).shape == (0, 2)
    assert impacts_of([1, 2], [0.0, 0.001], vocabulary=10, most=5).shape == (0, 2)
