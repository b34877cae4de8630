"""The MCP tools about runs, not code: what a run did, and what its answer was worth. They take no scope."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated
from uuid import UUID

from fastmcp import FastMCP
from fastmcp.tools.base import ToolResult
from mcp.types import ToolAnnotations
from pydantic import Field

from codeintel_core.reports.model import RunReport
from codeintel_core.reports.run_report import canonical
from codeintel_serving import run_reports
from codeintel_serving.access.principal import Permission
from codeintel_serving.feedback import MAX_NOTE_CHARS, FeedbackRequest, FeedbackResponse, Kind
from codeintel_serving.models import MAX_CITATIONS
from codeintel_serving.problems import checked
from codeintel_serving.recording import Caller
from codeintel_serving.run_reports import Format
from codeintel_serving.services import Services

NAMES = ("run_report", "feedback")


def add_run_tools(server: FastMCP, services: Services, caller_of: Callable[[], Caller]) -> None:
    """Add both tools."""

    @server.tool(
        output_schema=RunReport.model_json_schema(mode="serialization"),
        annotations=ToolAnnotations(
            read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
        ),
    )
    async def run_report(
        run_id: Annotated[str, Field(max_length=100, description="Id of the run, or `last`.")] = "last",
        format: Annotated[Format, Field(description="Form of the text: markdown, json or html.")] = Format.MARKDOWN,
    ) -> ToolResult:
        """Say what a run did: its steps, what stopped it, what each channel gave, and what looks wrong.

        Do not use it to learn what an answer says: every answer carries its own stages and limits.
        """
        principal = caller_of().principal
        principal.require(Permission.TELEMETRY)

        def reported() -> RunReport:
            named = canonical(services.home, run_id)
            return run_reports.report(services.home, services.settings, named, principal.may_see)

        found = await asyncio.to_thread(reported)
        return ToolResult(content=run_reports.rendered(found, format), structured_content=found.model_dump(mode="json"))

    @server.tool(
        output_schema=FeedbackResponse.model_json_schema(),
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
        ),
    )
    async def feedback(
        run_id: Annotated[UUID, Field(description="Id of the run that answered, as its response says.")],
        kind: Annotated[Kind, Field(description="useful, wrong, or opened: somebody went to a citation's place.")],
        citation: Annotated[
            int, Field(ge=0, le=MAX_CITATIONS, strict=True, description="Number of the citation; 0: the whole answer.")
        ] = 0,
        note: Annotated[str, Field(max_length=MAX_NOTE_CHARS, description="In words; secrets are taken out.")] = "",
    ) -> ToolResult:
        """Say what an answer, or one of its citations, was worth.

        Do not use it to correct an answer: ask again, more narrowly.
        """
        request = checked(FeedbackRequest, run_id=run_id, kind=kind, citation=citation, note=note)
        given = await asyncio.to_thread(services.feedback, request, caller_of())
        known = "" if given.checked else "; the run is not known here, so it counts once its trace has arrived"
        return ToolResult(
            content=f"recorded as {given.feedback_id}{known}", structured_content=given.model_dump(mode="json")
        )
