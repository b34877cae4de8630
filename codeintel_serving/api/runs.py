"""REST: run reports and runpacks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from codeintel_core.errors import StorageFailed, UnknownRun
from codeintel_core.reports.model import RunReport
from codeintel_core.reports.run_report import canonical
from codeintel_serving import run_reports
from codeintel_serving.access.principal import Permission
from codeintel_serving.api.correlation import caller_of
from codeintel_serving.api.tools import in_forms
from codeintel_serving.run_reports import MEDIA_TYPES, Format
from codeintel_serving.services import Services

_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


class PackedRun(BaseModel):
    """A runpack that was written."""

    model_config = ConfigDict(extra="forbid")

    runpack: str = Field(description="Its id; GET /runpacks/{id} answers the file.")
    size_bytes: int = Field(description="Size of the zip.")


def add_runs(app: FastAPI, services: Services, problems: dict[int | str, dict[str, Any]]) -> None:
    """Add the routes; `problems` are the responses they document."""

    def seen(run_id: str, request: Request) -> RunReport:
        """The report, for who may see the run."""
        principal = caller_of(request).principal
        principal.require(Permission.TELEMETRY)
        run_id = canonical(services.home, run_id)
        return run_reports.report(services.home, services.settings, run_id, principal.may_see)

    @app.get(
        "/runs/{run_id}/report",
        responses={**in_forms(MEDIA_TYPES[Format.MARKDOWN], MEDIA_TYPES[Format.HTML]), **problems},
        response_model=RunReport,
        summary="What a run did",
    )
    def report(
        run_id: str,
        request: Request,
        form: Annotated[
            Format | None,
            Query(alias="format", description="json, markdown or html; by the header Accept when absent."),
        ] = None,
    ) -> Any:
        found = seen(run_id, request)
        form = form or _accepted(request.headers.get("Accept", ""))
        return Response(run_reports.rendered(found, form), media_type=MEDIA_TYPES[form], headers=_POLICY)

    @app.post("/runs/{run_id}/runpack", responses=problems, summary="Pack a run into a file that may be sent")
    def pack(run_id: str, request: Request) -> PackedRun:
        run_id = seen(run_id, request).run_id
        built = services.runpacks.now(run_id)
        if built is None:
            raise StorageFailed("the runpack could not be written; the server's log says why")
        return PackedRun(runpack=built.run_id, size_bytes=built.size_bytes)

    @app.get(
        "/runpacks/{run_id}", responses={**in_forms("application/zip"), **problems}, response_class=Response,
        summary="A runpack (zip)",
    )  # fmt: skip
    def runpack(run_id: str, request: Request) -> Response:
        run_id = seen(run_id, request).run_id
        path = services.home.runpacks / f"{run_id}.zip"
        if not path.is_file():
            raise UnknownRun(f"there is no runpack of run {run_id}; POST /runs/{run_id}/runpack makes one")
        name = {"Content-Disposition": f'attachment; filename="{run_id}.zip"'}
        return Response(path.read_bytes(), media_type="application/zip", headers=name)


def _accepted(accept: str) -> Format:
    """The first form that the header names; JSON when it names none."""
    for wanted in accept.split(","):
        for form, media_type in MEDIA_TYPES.items():
            if wanted.split(";")[0].strip() == media_type:
                return form
    return Format.JSON
