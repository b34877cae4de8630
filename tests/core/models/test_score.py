"""Scores come back one per document and in order, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.score import PATH, ScoreModel
from codeintel_core.models.transport import Endpoint
from tests.core.models.conftest import Serve, use
from tests.fake_endpoint import Reply, Request, Route, recorded, said

DOCUMENTS = ["def add(a, b): return a + b", "class Stack: pass", "import os"]


def scores(serve: Serve, reply: Reply | Route) -> list[float]:
    model = ScoreModel(Endpoint("rerank", serve({PATH: reply}).url, "tiny-reranker"))
    return use(model.endpoint, lambda: model.score("how to add two numbers", DOCUMENTS, Deadline.after(10)))


def rows(*pairs: tuple[Any, Any]) -> Reply:
    return said({"data": [{"index": index, "score": score} for index, score in pairs]})


def test_a_recorded_answer(serve: Serve) -> None:
    assert scores(serve, recorded("score-queries-documents")) == pytest.approx([0.49438, 0.49430, 0.49423], abs=1e-4)


def test_answers_are_sorted_by_index(serve: Serve) -> None:
    assert scores(serve, rows((2, 0.3), (0, 0.1), (1, 0.2))) == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "reply",
    [
        rows((0, 0.1), (1, 0.2)),
        rows((0, 0.1), (1, 0.2), (1, 0.3)),
        rows((0, 0.1), (1, 0.2), (3, 0.3)),
        rows((0, 0.1), (1, None), (2, 0.3)),
        rows((0, 0.1), (1, True), (2, 0.3)),
        rows((0, 0.1), (1, "0.2"), (2, 0.3)),
        said(b'{"data": [{"index": 0, "score": NaN}]}'),
        said({"data": None}),
        said([]),
        recorded("score-nan"),
    ],
)
def test_anything_else_is_refused(serve: Serve, reply: Reply) -> None:
    with pytest.raises(EndpointFailed, match="rerank endpoint"):
        scores(serve, reply)


def test_an_older_server_is_asked_with_its_names(serve: Serve) -> None:
    def older(request: Request) -> Reply:
        if "text_1" not in request.body:
            return said({"detail": [{"loc": ["body", "text_1"], "msg": "text_1: Field required"}]}, 422)
        return recorded("score-queries-documents")

    assert len(scores(serve, older)) == 3
