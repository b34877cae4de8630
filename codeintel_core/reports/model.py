"""The run report as data: JSON is this model, Markdown and HTML are views of it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Scalar = str | int | float | bool | None
State = Literal["ran", "skipped", "failed", "degraded", "absent"]
OPEN = "open"
"""Status of a step that began and never ended: the process died there."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepEntry(_Model):
    """One step, in the order of their beginnings."""

    number: int = Field(description="Position, from 1.")
    kind: str = Field(description="Kind of step.")
    status: str = Field(description="completed, skipped, failed, timed_out, cancelled, or open: never ended.")
    reason: str = Field(description="Why, '' when completed.")
    detail: str = Field(description="What went wrong in words, redacted; '' when nothing did.")
    start_ms: float = Field(description="Start since the run began.")
    duration_ms: float | None = Field(description="Duration; null when it never ended.")
    depth: int = Field(description="How deep it is nested, from 0.")
    span_id: str = Field(description="OpenTelemetry span id.")
    attributes: dict[str, Scalar] = Field(description="Counts, ids and flags of the step.")


class Cell(_Model):
    """What became of one operation."""

    state: State = Field(description="ran, skipped, failed, degraded or absent.")
    reason: str = Field(description="Why, '' when it ran.")


class Channel(_Model):
    """What one retrieval channel gave."""

    status: str = Field(description="How its step ended; absent when it has none.")
    reason: str = Field(description="Why, '' when completed.")
    candidates: int = Field(description="Candidates it found.")
    contributed: int = Field(description="Final hits that it found too.")
    alone: int = Field(description="Final hits that no other channel found.")
    cited: int = Field(description="Cited hits that it found too.")


class Finding(_Model):
    """What a detector noticed."""

    kind: str = Field(description="Kind of finding; docs/runbook.md has an entry of this name.")
    message: str = Field(description="What it means, in one sentence.")
    evidence: dict[str, Scalar] = Field(description="What it was seen by.")
    hint: str = Field(description="What to do first.")


class RunReport(_Model):
    """What a run did, stage by stage."""

    run_id: str = Field(description="Id of the run.")
    operation: str = Field(description="search, answer, build or another bounded name.")
    status: str = Field(description="ok, empty, degraded, refused, error, cancelled, or died: it has no last line.")
    stopped_because: str = Field(description="Last step that failed, timed out or never ended, with its reason.")
    started_at: str = Field(description="ISO 8601.")
    duration_ms: float | None = Field(description="Null when the process died.")
    trace_id: str = Field(description="OpenTelemetry trace id.")
    session_id: str = Field(description="The caller's session, '' when none.")
    asked: dict[str, Scalar] = Field(description="Surface, mode, kind of query and scope, as the trace row has them.")
    generations: list[dict[str, str]] = Field(description="Generations served or built.")
    coverage: dict[str, Cell] = Field(description="Each operation and what became of it.")
    channels: dict[str, Channel] = Field(description="Retrieval channels.")
    budgets: dict[str, Scalar] = Field(description="Budgets in ms and what was used of them.")
    gating: dict[str, Scalar] = Field(description="Decisions: profile, depth, weights, with their reasons.")
    outcome: dict[str, Scalar] = Field(description="Hits, citations, confidence, model, tokens.")
    warnings: list[str] = Field(description="Limits the answer named, and damage of the record itself.")
    findings: list[Finding] = Field(description="What the detectors noticed, most severe first.")
    steps: list[StepEntry] = Field(description="Every step.")
    failure: dict[str, Any] = Field(description="Record of the Dagster failure sensor, {} when there is none.")

    @property
    def repos(self) -> frozenset[str]:
        """Repositories that the run touched: who may not see one of them may not see the report."""
        named = {str(step.attributes["repo"]) for step in self.steps if step.attributes.get("repo")}
        return frozenset({generation["repo"] for generation in self.generations if generation.get("repo")} | named)

    def of_kind(self, kind: str) -> list[StepEntry]:
        """Steps of one kind."""
        return [step for step in self.steps if step.kind == kind]

    def value(self, kind: str, attribute: str) -> Scalar:
        """An attribute of the last step of a kind that has it, else None."""
        for step in reversed(self.of_kind(kind)):
            if step.attributes.get(attribute) is not None:
                return step.attributes[attribute]
        return None
