"""What is indexed and how well it serves."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from codeintel_core.generations.as_of import MAX_CHARS
from codeintel_serving.models.base import MAX_REPOS, Model, Name, example
from codeintel_serving.models.envelope import Envelope, IndexEntry
from codeintel_serving.models.request import ToolRequest

_Place = Annotated[str, Field(min_length=1, max_length=5_000)]


class StatusRequest(ToolRequest):
    """Which repositories' state is wanted."""

    model_config = example(repos=["codeintel"], paths=["README.md"])

    repos: list[Name] = Field([], max_length=MAX_REPOS, description="Names of repositories; all when empty.")
    paths: list[_Place] = Field(
        [], max_length=100, description="`repo:path` or `path` of files: whether each is indexed, or why not."
    )
    generation: str = Field("", max_length=MAX_CHARS, description="An older generation, named as `as_of`; '' is now.")

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.repos and self.scope.repos:
            raise ValueError("give `repos` or `scope.repos`, not both")
        return self


class FileStatus(Model):
    """Whether a file is indexed."""

    repo: str = Field(description="Repository.")
    path: str = Field(description="Path in the commit.")
    indexed: bool = Field(description="Whether its text can be searched and read.")
    reason: str = Field(description="Why not: missing, or the reason it was skipped; '' when indexed.")
    chunks: int = Field(description="Indexed spans.")


class RepositoryStatus(Model):
    """One repository: what serves and how complete and fresh it is."""

    repo: str = Field(description="Repository.")
    index: IndexEntry | None = Field(description="What serves; null when nothing does.")
    files: int = Field(description="Files of the commit.")
    chunks: int = Field(description="Indexed spans.")
    coverage: dict[str, int] = Field(description="Files by `indexed` or the reason they were skipped.")
    redacted: dict[str, int] = Field(
        description="Masked `values` that look like secrets, and the `files` they were in; empty when there were none."
    )
    secondary_ratio: float = Field(description="(secondary + tombstones) / primary; compaction is due when it grows.")
    group: str = Field(description="Group it was registered in, '' when none.")
    held: str = Field(description="Why automatic builds wait after a roll back, '' when they do not.")
    sparse: str = Field(description="Sparse index: its model and size, or why there is none (`not_configured`).")
    generations: list[str] = Field(
        description="Ids of the generations that are kept, newest first; `as_of` takes them."
    )
    dense_device: str = Field(description="Where the primary is searched, with the reason when it is not as set.")
    vector_engine: str = Field(
        "", description="Whether the external vector engine answers for it, or why not; '' when none is configured."
    )
    problem: str = Field(description="Why CURRENT does not serve or a channel is missing, '' when all is well.")


class Check(Model):
    """One readiness check."""

    status: Literal["ok", "degraded", "down"] = Field(description="Result of the check.")
    reason: str = Field(description="Why, '' when ok.")
    since: str = Field("", description="Since when it has this status, ISO 8601, as far as this server knows.")


class Readiness(Model):
    """Whether the server can answer."""

    state: Literal["ready", "degraded", "draining", "down"] = Field(
        description="Worst of what matters; 503 when down, or draining: about to stop."
    )
    checks: dict[str, Check] = Field(description="Result of each check, of the repositories that are open.")
    repositories: int = Field(0, description="Repositories that are registered.")
    open: int = Field(0, description="Of these, how many this process has open now.")
    verified: int = Field(0, description="How many it has opened, and so verified, since it started.")

    def without_reasons(self) -> Readiness:
        """For who may not know: reasons name repositories."""
        hidden = {name: check.model_copy(update={"reason": ""}) for name, check in self.checks.items()}
        return self.model_copy(update={"checks": hidden})


class StatusResponse(Envelope):
    """State of every repository."""

    repositories: list[RepositoryStatus] = Field(description="Repositories by name.")
    files: list[FileStatus] = Field(description="One entry per path asked for and repository.")
    readiness: Readiness = Field(description="Whether the server can answer, check by check.")
