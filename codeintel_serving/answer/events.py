"""Events of an answer in the order they happen; SSE sends them as they are, JSON folds them into one response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from codeintel_serving.models import Citation, Confidence, Coverage, IndexEntry, Problem, StageModel


@dataclass(frozen=True, slots=True)
class StageEvent:
    """A step ended."""

    stage: StageModel
    name = "stage"

    def data(self) -> dict[str, Any]:
        """The payload on the wire."""
        return self.stage.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class CitationEvent:
    """A verified citation."""

    citation: Citation
    name = "citation"

    def data(self) -> dict[str, Any]:
        """The payload on the wire."""
        return self.citation.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """The next piece of the answer's text."""

    text: str
    name = "token"

    def data(self) -> dict[str, Any]:
        """The payload on the wire."""
        return {"text": self.text}


@dataclass(frozen=True, slots=True)
class LimitsEvent:
    """What bounds the answer: what was cut, how far to trust it, how fresh its index is, who wrote it."""

    limits: list[str]
    confidence: Confidence
    index: list[IndexEntry]
    coverage: Coverage
    warnings: list[str]
    model: str
    name = "limits"

    def data(self) -> dict[str, Any]:
        """The payload on the wire."""
        return {
            "limits": self.limits,
            "confidence": self.confidence.model_dump(mode="json"),
            "index": [entry.model_dump(mode="json") for entry in self.index],
            "coverage": self.coverage.model_dump(mode="json"),
            "warnings": self.warnings,
            "model": self.model,
        }


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The answer failed."""

    error: Exception
    problem: Problem
    name = "error"

    def data(self) -> dict[str, Any]:
        """The payload on the wire."""
        return self.problem.model_dump(mode="json")


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """The trace row as it was written; always the last event."""

    row: dict[str, Any]
    name = "trace"

    def data(self) -> dict[str, Any]:
        """The payload on the wire."""
        return self.row


Event = StageEvent | CitationEvent | TokenEvent | LimitsEvent | ErrorEvent | TraceEvent
