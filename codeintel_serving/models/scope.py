"""Scopes under a handle, and what they resolve to."""

from __future__ import annotations

from pydantic import Field

from codeintel_serving.models.base import Model, example
from codeintel_serving.models.envelope import Envelope
from codeintel_serving.models.request import ScopeModel, ToolRequest


class SetScopeRequest(ToolRequest):
    """A scope to keep under a handle."""

    model_config = example(scope={"groups": ["platform"], "languages": ["python"]})

    scope: ScopeModel = Field(description="What later requests may see with the handle.")


class GetScopeRequest(ToolRequest):
    """A handle whose scope is wanted."""

    model_config = example(scope_id="scope_4cTnQ0vXo6yJm1Zk2uHsWbE8dLr3iPfA")

    scope_id: str = Field(min_length=1, max_length=200, description="Handle from `set_scope`.")


class ScopedRepository(Model):
    """One repository of a scope."""

    repo: str = Field(description="Repository.")
    generation: str = Field(description="Generation that answers at the moment.")
    spans: int = Field(description="Indexed spans inside the scope.")


class ScopeResponse(Envelope):
    """A scope under a handle, and what it resolves to at the moment."""

    scope_id: str = Field(description="Handle: give it as `scope_id`; it works for this caller only.")
    scope: ScopeModel = Field(description="The scope.")
    expires_in_s: float = Field(description="Seconds until the handle is forgotten.")
    repositories: list[ScopedRepository] = Field(description="Repositories that it means for this caller.")
