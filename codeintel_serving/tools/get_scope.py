"""`get_scope`: what a handle means now."""

from __future__ import annotations

from codeintel_serving.models import GetScopeRequest, ScopeResponse
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools import set_scope
from codeintel_serving.tools.tool import Tool, in_loop


async def _get(services: Services, request: GetScopeRequest, caller: Caller) -> ScopeResponse:
    return await services.scopes.get(request.scope_id, caller)


TOOL = Tool(
    name="get_scope",
    avoid="Do not use it before every call: an unknown handle is refused by the call itself.",
    request=GetScopeRequest,
    response=ScopeResponse,
    run=in_loop("get_scope", _get),
    text=set_scope.text,
    path="/scope/get",
)
