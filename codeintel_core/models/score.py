"""Scores of texts for a query, from vLLM's `/v1/score`: one per text, in the order given, all finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from codeintel_core.deadline import Deadline
from codeintel_core.models.failures import EndpointFailed
from codeintel_core.models.transport import Endpoint

PATH = "/v1/score"  # never /score: a key guards /v1 only


class ScoreModel:
    """A reranking endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._fields = ("queries", "documents")

    async def score(self, query: str, documents: Sequence[str], deadline: Deadline) -> list[float]:
        """One score per document, higher is better; only comparable within one call.

        Raises:
            EndpointFailed: refused, unreachable, or scores that are missing, doubled or not finite.
            DeadlineExceeded: no scores before the deadline.
        """
        try:
            found = await self._ask(query, documents, deadline)
        except EndpointFailed as error:
            if error.status not in (400, 422) or "text_1" not in str(error) or self._fields[0] == "text_1":
                raise
            self._fields = ("text_1", "text_2")  # an older server
            found = await self._ask(query, documents, deadline)
        scores = _in_order(found, len(documents))
        if scores is None:
            raise self.endpoint.failed(f"did not answer {len(documents)} documents with as many finite scores")
        return scores

    async def _ask(self, query: str, documents: Sequence[str], deadline: Deadline) -> Any:
        texts, others = self._fields
        body = {
            "model": self.endpoint.model,
            texts: query,
            others: list(documents),
            "truncate_prompt_tokens": -1,
        }
        return await self.endpoint.json("POST", PATH, body, deadline)


def _in_order(found: Any, count: int) -> list[float] | None:
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list) or len(rows) != count:
        return None
    scores: dict[int, float] = {}
    for row in rows:
        index, score = (row.get("index"), row.get("score")) if isinstance(row, dict) else (None, None)
        if not isinstance(index, int) or isinstance(score, bool) or not isinstance(score, int | float):
            return None
        if not math.isfinite(score):
            return None
        scores[index] = float(score)
    return [scores[index] for index in range(count)] if scores.keys() == set(range(count)) else None
