"""What is said when a request fails."""

from __future__ import annotations

from pydantic import Field

from codeintel_serving.models.base import Model, example


class FieldError(Model):
    """One argument that is wrong."""

    field: str = Field(description="Path of the argument, such as `scope.repos.0`.")
    message: str = Field(description="What is wrong with it, naming its limits.")


class Problem(Model):
    """RFC 9457 Problem Details; MCP carries the same object."""

    model_config = example(
        type="/problems/unknown-repository", title="Unknown repository", status=404, code="unknown-repository",
        detail="no repository 'x' is registered", run_id="8f14e45f-ceea-467f-a3e5-2b1f3c1d9f3a",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736", runpack="", stage="scope.resolve", limits=[], errors=[],
    )  # fmt: skip

    type: str = Field(description="URI reference of the kind of problem.")
    title: str = Field(description="Short name of the kind of problem.")
    status: int = Field(description="HTTP status code.")
    detail: str = Field(description="One line that names the limit or the fix.")
    code: str = Field(description="Stable slug of the kind of problem.")
    run_id: str = Field(description="Id of the request.")
    trace_id: str = Field(description="OpenTelemetry trace id.")
    runpack: str = Field("", description="Id of the runpack that is being written, '' when the fault is not ours.")
    stage: str = Field("", description="Kind of step that failed, '' when none did.")
    limits: list[str] = Field([], description="What was degraded or cut before it failed, in words.")
    errors: list[FieldError] = Field([], description="Arguments that are wrong, if any.")
