"""REST: what the dashboard page shows."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request

from codeintel_serving.api.correlation import caller_of
from codeintel_serving.dashboard import MAX_DAYS, Dashboard, DashboardReader
from codeintel_serving.services import Services


def add_analytics(app: FastAPI, services: Services, problems: dict[int | str, dict[str, Any]]) -> None:
    """Add the route; `problems` are the responses it documents."""
    reader = DashboardReader(services.home.analytics)

    @app.get("/analytics/dashboard", responses=problems, summary="Volume, latency and quality by day, and top misses")
    def dashboard(
        request: Request,
        days: Annotated[int, Query(ge=1, le=MAX_DAYS, description="Days up to the newest that has a request.")] = 30,
    ) -> Dashboard:
        caller_of(request).principal.require_all()
        return reader.read(days)
