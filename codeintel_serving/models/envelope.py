"""What comes with the results of every tool: the index, its coverage, the budget and the steps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from codeintel_serving.models.base import Model


class IndexEntry(Model):
    """The generation of one repository that answered."""

    repo: str = Field(description="Repository.")
    generation: str = Field(description="Id of the generation.")
    commit: str = Field(description="Commit it was built from.")
    built_at: str = Field(description="When it was built, ISO 8601.")
    commits_behind: int | None = Field(description="Commits of the mirror's head it lacks; null when unknown.")
    minutes_behind: float | None = Field(
        description="Minutes since the first commit it lacks, or since a newer head was seen; null when unknown."
    )
    dagster_run_id: str = Field(description="Dagster run that built it.")
    status: Literal["fresh", "behind", "degraded"] = Field(
        description="fresh; behind the mirror; or degraded: a newer generation was refused or a channel is missing."
    )


class Coverage(Model):
    """What was searched and what was not."""

    searched: list[str] = Field(description="Repositories searched.")
    left_out: dict[str, str] = Field(
        {}, description="Repositories of the scope that were not searched, with the reason."
    )
    skipped: dict[str, int] = Field(description="Files that are not indexed, by reason.")
    redacted: dict[str, int] = Field(
        description="Masked `values` that look like secrets, and the `files` they were in; empty when there were none."
    )
    degraded: dict[str, str] = Field(description="Channels that did not complete, with the reason.")
    idle: dict[str, str] = Field(description="Channels that were not needed, are `not_configured` or `not_promoted`.")


class StageModel(Model):
    """One step of the pipeline."""

    name: str = Field(description="Kind of step.")
    status: str = Field(description="completed, skipped, failed, timed_out or cancelled.")
    reason: str = Field(description="Why, '' when completed.")
    start_ms: float = Field(description="Start since the request began.")
    ms: float = Field(description="Duration.")


class Budget(Model):
    """What `max_tokens` did to the results."""

    tokens: int = Field(0, description="Estimated tokens of the results.")
    truncated: bool = Field(False, description="Whether anything was shortened or left out.")
    shortened: int = Field(0, description="Results that are shown shorter than asked.")
    omitted: int = Field(0, description="Results that were found and are not on this page or an earlier one.")
    omitted_files: dict[str, int] = Field({}, description="Omitted results per `repo:path`; the first 50 files.")
    next_cursor: str = Field("", description="`cursor` of the next page; '' when this is the last.")
    how_to_narrow: str = Field("", description="How to ask for less or more; '' when nothing was cut.")


class Envelope(Model):
    """What comes with the results of every tool."""

    index: list[IndexEntry] = Field(description="Generations that answered, one per repository.")
    coverage: Coverage = Field(description="What was searched.")
    budget: Budget = Field(Budget(), description="What was cut to fit `max_tokens`.")
    run_id: str = Field(description="Id of this request: joins logs, ledger and trace.")
    trace_id: str = Field(description="OpenTelemetry trace id.")
    warnings: list[str] = Field(description="What the caller should know before relying on this.")
    stages: list[StageModel] = Field([], description="Audit trail: the steps in the order they ended.")
