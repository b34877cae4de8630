"""What the commands of the tools print: results on stdout, remarks on stderr."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from codeintel_core.reports.run_report import canonical
from codeintel_core.telemetry import ledger
from codeintel_serving.answer.events import Event, StageEvent, TokenEvent
from codeintel_serving.display import inline, printable
from codeintel_serving.explanation import explanation_lines
from codeintel_serving.feedback import FeedbackRequest
from codeintel_serving.models import (
    AnswerResponse,
    Citation,
    Envelope,
    RepositoryStatus,
    SearchHit,
    SearchResponse,
    StatusResponse,
    ToolRequest,
)
from codeintel_serving.problems import checked
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from codeintel_serving.tools.tool import Tool

_CALLER = Caller("cli")
_Printer = Callable[[Tool[Any, Any], Any], None]


def show(services: Services, tool: Tool[Any, Any], values: Mapping[str, Any], as_json: bool, verbose: bool) -> None:
    """Run a tool and print what it found.

    `values` are the request's fields, and those of its scope beside them.
    """
    own = {name: value for name, value in values.items() if name in tool.request.model_fields}
    scope = {name: value for name, value in values.items() if name not in own}
    request = checked(tool.request, **own, **({"scope": scope} if scope else {}))
    if tool.needs_models:
        services.warm(request.scope.repos, request.scope.as_of)
    telling = _Telling(text=not as_json, stages=verbose) if tool.name == "answer" else None
    found = asyncio.run(_found(services, tool, request, telling))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        printer: _Printer = _PRINTERS.get(tool.name, _print_text)
        printer(tool, found)
    if verbose and telling is None:
        _show_stages(services, found.run_id)


async def _found(services: Services, tool: Tool[Any, Any], request: ToolRequest, telling: _Telling | None) -> Envelope:
    try:
        found: Envelope = await tool.run(services, request, _CALLER, telling)
        return found
    finally:
        await services.aclose()


@dataclass(slots=True)
class _Telling:
    """Prints events of an answer as they happen: its text as it is written, each stage on stderr as it ends."""

    text: bool
    stages: bool
    is_mid_line: bool = False

    async def __call__(self, event: Event) -> None:
        if isinstance(event, TokenEvent) and self.text:
            typer.echo(event.text, nl=False)
            sys.stdout.flush()
            self.is_mid_line = not event.text.endswith("\n")
        elif isinstance(event, StageEvent) and self.stages:
            stage = event.stage
            if self.is_mid_line:  # on a terminal both streams share the line
                typer.echo(err=True)
                self.is_mid_line = False
            _remark([_stage_line(stage.name, stage.status, stage.ms, stage.reason)])


def feedback(services: Services, run_id: str, arguments: Mapping[str, Any], as_json: bool) -> None:
    """Store feedback with the arguments of a `FeedbackRequest` and print its id."""
    run_id = canonical(services.home, run_id)
    given = services.feedback(checked(FeedbackRequest, run_id=run_id, **arguments), _CALLER)
    typer.echo(given.model_dump_json(indent=2) if as_json else given.feedback_id)


def _print_text(tool: Tool[Any, Any], found: Envelope) -> None:
    typer.echo(printable(tool.text(found)))
    _remark([*found.warnings, *filter(None, [found.budget.how_to_narrow])])


def _print_search(_: Tool[Any, Any], found: SearchResponse) -> None:
    several = len(found.index) > 1
    for hit in found.results:
        typer.echo(_hit_line(hit, several))
        for line in explanation_lines(hit):
            typer.echo(f"    {line}")
    remarks = [*found.warnings, *filter(None, [found.budget.how_to_narrow])]
    _remark([*remarks, *([] if found.results else ["no results"])])


def _print_answer(_: Tool[Any, Any], found: AnswerResponse) -> None:
    typer.echo("" if found.answer.endswith("\n") else "\n")  # the text was printed as it was written
    for cited in found.citations:
        typer.echo(_citation_line(cited))
    reasons = "; ".join(found.confidence.reasons)
    _remark([f"confidence {found.confidence.value:.2f}: {reasons}", *found.limits])


def _print_status(_: Tool[Any, Any], found: StatusResponse) -> None:
    for state in found.repositories:
        typer.echo("\n".join(_status_lines(state)))
    for file in found.files:
        typer.echo(f"{file.repo}:{inline(file.path)}: {file.reason or 'indexed'}")
    if not found.repositories:
        _remark(["no repository is registered; run `codeintel add PATH_OR_URL`"])


_PRINTERS: dict[str, _Printer] = {
    "search": _print_search,
    "answer": _print_answer,
    "status": _print_status,
}
"""Tools whose commands print for people what their text twins do not; the others print the twin."""


def _hit_line(hit: SearchHit, several: bool) -> str:
    where = f"  [{hit.repo}]" if several else ""
    spans = ",".join(str(m.start_line) if m.start_line == m.end_line else f"{m.start_line}-{m.end_line}"
                     for m in hit.matches)  # fmt: skip
    matches = f"  lines {spans}" if spans else ""
    place = f"{inline(hit.path)}:{hit.start_line}-{hit.end_line}"
    return f"{place}  {inline(hit.symbol) or hit.kind}  {hit.score:.3f}{matches}{where}"


def _citation_line(cited: Citation) -> str:
    place = f"{inline(cited.path)}:{cited.start_line}-{cited.end_line}"
    proof = f"({'verified' if cited.verified else 'not verified'}, {cited.commit[:12]}, {cited.generation})"
    return " ".join(filter(None, [f"[{cited.id}]", place, inline(cited.symbol), proof]))


def _status_lines(state: RepositoryStatus) -> list[str]:
    lines = [state.repo]
    if state.index is not None:
        behind = {None: "unknown", 0: "none"}.get(state.index.commits_behind, str(state.index.commits_behind))
        if state.index.minutes_behind:
            behind += f" (for {state.index.minutes_behind:.0f} minutes)"
        skipped = ", ".join(f"{reason} {n}" for reason, n in sorted(state.coverage.items()) if reason != "indexed")
        lines += [
            f"  generation       {state.index.generation}",
            f"  commit           {state.index.commit}",
            f"  built            {state.index.built_at} (Dagster run {state.index.dagster_run_id})",
            f"  commits behind   {behind}",
            f"  files            {state.coverage.get('indexed', 0)} of {state.files}",
            f"  skipped          {skipped or 'none'}",
            f"  redacted         {state.redacted.get('values', 0)} values in {state.redacted.get('files', 0)} files",
            f"  chunks           {state.chunks}",
            f"  secondary ratio  {state.secondary_ratio:.1%}",
            f"  sparse           {printable(state.sparse)}",
            f"  dense device     {printable(state.dense_device)}",
            *([f"  vector engine    {printable(state.vector_engine)}"] if state.vector_engine else []),
        ]
    for label, value in (("group", state.group), ("held", state.held)):
        if value:
            lines.append(f"  {label:<15}  {value}")
    if state.problem:
        lines.append(f"  problem          {printable(state.problem)}")
    return lines


def _show_stages(services: Services, run_id: str) -> None:
    ended = [line for line in ledger.read(services.home.ledger, run_id) if line.get("event") == "end"]
    _remark([_stage_line(s["kind"], s["status"], s["duration_ms"], s["reason"]) for s in ended])


def _stage_line(kind: str, status: str, ms: float, reason: str) -> str:
    return f"{kind:<18} {status:<10} {ms:>9.1f} ms  {reason}".rstrip()


def _remark(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(printable(line), err=True)
