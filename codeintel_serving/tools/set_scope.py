"""`set_scope`: a scope under a handle."""

from __future__ import annotations

from codeintel_serving.models import ScopeResponse, SetScopeRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools.tool import Tool, in_loop


async def _set(services: Services, request: SetScopeRequest, caller: Caller) -> ScopeResponse:
    opened = await services.scopes.opened(request, caller)
    made = await services.scopes.set(opened.scope, caller)
    return made.model_copy(update={"warnings": [*opened.scope_warnings, *made.warnings]})


def text(found: ScopeResponse) -> str:
    """The handle, then one line per repository."""
    lines = [f"{r.repo}: {r.spans} spans in scope, generation {r.generation}" for r in found.repositories]
    return "\n".join([f"{found.scope_id} (expires in {found.expires_in_s:.0f} s)", *lines])


TOOL = Tool(
    name="set_scope",
    avoid="Do not use it for a single call: every tool takes the scope itself.",
    request=SetScopeRequest,
    response=ScopeResponse,
    run=in_loop("set_scope", _set),
    text=text,
    path="/scope",
    is_read_only=False,
)
