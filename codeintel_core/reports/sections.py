"""Ledger lines become sections: a request has one, a Dagster run one per asset, a reused run id one per request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from codeintel_core.reports.model import OPEN, StepEntry
from codeintel_core.telemetry import Run


@dataclass
class Section:
    """The lines between one `run` line and its `done`."""

    operation: str
    trace_id: str
    session_id: str
    at: datetime
    status: str = ""
    """'' when there is no last line."""
    duration_ms: float | None = None
    last_ms: float = 0.0
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: Run) -> Section:
        """The section of a run in this process, without its ledger."""
        found = cls(run.operation, run.trace_id, run.session_id, run.started_at, run.outcome.value, run.elapsed_ms)
        for step in run.steps:
            found.steps[step.span_id] = {
                "kind": step.kind,
                "span_id": step.span_id,
                "parent_id": step.parent_id,
                "status": step.status.value,
                "reason": step.reason,
                "detail": step.detail,
                "start_ms": step.start_ms,
                "duration_ms": step.duration_ms,
                "attributes": step.attributes,
            }
        return found


def read(lines: Iterable[Mapping[str, Any]]) -> tuple[list[Section], int]:
    """Sections of a run in the order they began, and how many lines belong to none (a torn or foreign file)."""
    sections: dict[str, Section] = {}
    strays = 0
    for line in lines:
        try:
            strays += not _take(sections, line)
        except (KeyError, TypeError, ValueError):
            strays += 1
    return sorted(sections.values(), key=lambda section: section.at), strays


def _take(sections: dict[str, Section], line: Mapping[str, Any]) -> bool:
    """Add a line to its section; False when it has none."""
    key = str(line.get("section", ""))
    if line["event"] == "run":
        sections[key] = Section(
            str(line["operation"]), str(line["trace_id"]), str(line["session_id"]), datetime.fromisoformat(line["at"])
        )
        return True
    if key not in sections:
        return False
    section = sections[key]
    section.last_ms = max(section.last_ms, float(line["ms"]))
    if line["event"] == "begin":
        section.steps[line["span_id"]] = {"kind": line["kind"], "span_id": line["span_id"], "start_ms": line["ms"]}
    elif line["event"] == "end":
        section.steps.setdefault(line["span_id"], {}).update(line)
    elif line["event"] == "done":
        section.status, section.duration_ms = str(line["status"]), float(line["ms"])
    return True


def entries(sections: Iterable[Section]) -> list[StepEntry]:
    """The steps of the sections, each counted from the start of the first section."""
    first: datetime | None = None
    found: list[StepEntry] = []
    for section in sections:
        first = first or section.at
        offset_ms = (section.at - first).total_seconds() * 1000
        depths: dict[str, int] = {}
        for step in sorted(section.steps.values(), key=lambda step: float(step["start_ms"])):
            depths[step["span_id"]] = depths.get(str(step.get("parent_id")), -1) + 1
            found.append(
                StepEntry(
                    number=len(found) + 1,
                    kind=step["kind"],
                    status=step.get("status", OPEN),
                    reason=step.get("reason", "the process died here"),
                    detail=step.get("detail", ""),
                    start_ms=round(float(step["start_ms"]) + offset_ms, 3),
                    duration_ms=step.get("duration_ms"),
                    depth=depths[step["span_id"]],
                    span_id=step["span_id"],
                    attributes=step.get("attributes", {}),
                )
            )
    return found
