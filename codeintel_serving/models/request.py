"""The scope and the arguments that every tool takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, model_validator

from codeintel_core.scope import MAX_GLOBS, Scope
from codeintel_serving.models.base import MAX_REPOS, MAX_TIME_BUDGET_MS, AsOf, Flag, Model, Name, example

MIN_TOKENS, MAX_TOKENS = 100, 20_000
MAX_CURSOR_CHARS = 50_000


class ScopeModel(Model):
    """What a query may see; empty lists mean everything."""

    model_config = example(repos=["codeintel"], paths=["codeintel_core/**"], languages=["python"])

    repos: list[Name] = Field([], max_length=MAX_REPOS, description="Names of repositories; empty means all.")
    groups: list[Name] = Field(
        [], max_length=100, description="Groups of repositories, by the names they were registered with."
    )
    paths: list[Name] = Field(
        [], max_length=MAX_GLOBS, description="Globs over paths: `**` any folders, `*` and `?` within one."
    )
    languages: list[Name] = Field([], max_length=100, description="Languages such as `python`; empty means all.")
    as_of: AsOf = ""
    include_tests: Flag = Field(True, description="Whether test files are searched.")
    include_generated: Flag = Field(True, description="Whether generated, vendored and minified files are searched.")

    def facts(self) -> dict[str, int | bool]:
        """How much the scope leaves out, for the step that resolves it."""
        return {
            "repos": len(self.repos),
            "paths": len(self.paths),
            "languages": len(self.languages),
            "as_of": bool(self.as_of),
            "leaves_out": not (self.include_tests and self.include_generated),
        }

    def as_scope(self) -> Scope:
        """The core's scope; raises `InvalidRequest` for a glob that cannot be meant."""
        return Scope(
            tuple(self.repos), tuple(self.paths), tuple(self.languages), self.include_tests, self.include_generated
        )


class Detail(StrEnum):
    """How much of each result is wanted; `max_tokens` may shorten it further."""

    IDS = "ids"
    CONCISE = "concise"
    FULL = "full"


class ToolRequest(Model):
    """The arguments that every tool takes."""

    scope: ScopeModel = Field(  # a factory: pydantic would copy a default deeply for every request
        default_factory=ScopeModel, description="What may be searched; everything when left out."
    )
    scope_id: str = Field("", max_length=200, description="Handle from `set_scope`, in place of `scope`.")
    max_tokens: Annotated[int, Field(strict=True, ge=MIN_TOKENS, le=MAX_TOKENS)] = Field(
        4_000, description=f"Most tokens of the results (estimated), {MIN_TOKENS}..{MAX_TOKENS}."
    )
    detail: Detail = Field(Detail.FULL, description="ids (places only), concise (shortened) or full.")
    deadline_ms: Annotated[int, Field(strict=True, ge=1, le=MAX_TIME_BUDGET_MS)] | None = Field(
        None,
        description=f"The call ends with an error after this many ms, 1..{MAX_TIME_BUDGET_MS}; null: the tool's own.",
    )

    _scope_lost: str = PrivateAttr("")

    @property
    def scope_warnings(self) -> list[str]:
        """What the caller should know about the scope that was used in place of the one that was meant."""
        return [self._scope_lost] if self._scope_lost else []

    def without_scope(self, why: str) -> Self:
        """The request as it goes on when the scope that its session means cannot be had."""
        copy = self.model_copy()
        copy._scope_lost = why
        return copy

    @model_validator(mode="after")
    def _one_scope(self) -> Self:
        if self.scope_id and self.scope != ScopeModel():
            raise ValueError("give `scope` or `scope_id`, not both")
        return self


class PagedRequest(ToolRequest):
    """The arguments of a tool whose results come in pages."""

    cursor: str = Field(
        "", max_length=MAX_CURSOR_CHARS, description="`budget.next_cursor` of the same request; '' is the first page."
    )
