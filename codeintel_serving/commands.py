"""What the commands `search`, `answer`, `read` and `status` print: results on stdout, remarks on stderr."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from codeintel_core.reports.run_report import canonical
from codeintel_core.telemetry import run
from codeintel_core.telemetry.ledger import read as read_ledger
from codeintel_serving.answer import orchestrator
from codeintel_serving.answer.events import Event, StageEvent, TokenEvent
from codeintel_serving.display import inline, printable
from codeintel_serving.explanation import explanation_lines
from codeintel_serving.feedback import FeedbackRequest
from codeintel_serving.mcp.targets import parse
from codeintel_serving.models import AnswerRequest, AnswerResponse, Citation, RepositoryStatus, SearchHit, SearchRequest
from codeintel_serving.problems import checked
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services

_CALLER = Caller("cli")


def search(services: Services, arguments: Mapping[str, Any], as_json: bool, verbose: bool) -> None:
    """Search with the arguments of a `SearchRequest` and print one line per hit."""
    request = checked(SearchRequest, **arguments)
    services.warm(request.scope.repos, request.scope.as_of)
    found = services.search(request, _CALLER)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        several = len(found.index) > 1
        for hit in found.results:
            typer.echo(_hit_line(hit, several))
            for line in explanation_lines(hit):
                typer.echo(f"    {line}")
        _remark([*found.warnings, *([] if found.results else ["no results"])])
    if verbose:
        _show_stages(services, found.run_id)


def answer(
    services: Services,
    question: str,
    scope: Mapping[str, Any],
    as_json: bool,
    verbose: bool,
) -> None:
    """Answer: print the text as it is written, then its citations; with `verbose`, each stage on stderr as it ends."""
    request = checked(AnswerRequest, question=question, scope=scope)
    services.warm(request.scope.repos, request.scope.as_of)
    found = asyncio.run(_answered(services, request, _Telling(text=not as_json, stages=verbose)))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        typer.echo("" if found.answer.endswith("\n") else "\n")
        for cited in found.citations:
            typer.echo(_citation_line(cited))
        reasons = "; ".join(found.confidence.reasons)
        _remark([f"confidence {found.confidence.value:.2f}: {reasons}", *found.limits])


async def _answered(services: Services, request: AnswerRequest, telling: _Telling) -> AnswerResponse:
    try:
        return await orchestrator.answer(services, request, _CALLER, telling)
    finally:
        await services.aclose()


def read(services: Services, targets: Sequence[str], as_of: str, as_json: bool) -> None:
    """Print the asked lines of each target; with `--json`, a list of what `POST /files/read` returns."""
    requests = [parse(target, as_of) for target in targets]
    with run("read", None):
        found = [services.read(request) for request in requests]
    if as_json:
        typer.echo(json.dumps([text.model_dump(mode="json") for text in found], indent=2))
        return
    for text in found:
        if len(found) > 1:
            _remark([f"{text.repo}:{inline(text.path)}:{text.start_line}-{text.end_line}"])
        typer.echo(printable(text.text))


def feedback(services: Services, run_id: str, arguments: Mapping[str, Any], as_json: bool) -> None:
    """Store feedback with the arguments of a `FeedbackRequest` and print its id."""
    run_id = canonical(services.home, run_id)
    given = services.feedback(checked(FeedbackRequest, run_id=run_id, **arguments), _CALLER)
    typer.echo(given.model_dump_json(indent=2) if as_json else given.feedback_id)


@dataclass(slots=True)
class _Telling:
    """Prints events of an answer as they happen."""

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


def status(services: Services, repos: Sequence[str], as_json: bool) -> None:
    """Print the state of each repository."""
    with run("status", None):
        found = services.status(repos)
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    for state in found.repositories:
        typer.echo("\n".join(_status_lines(state)))
    if not found.repositories:
        _remark(["no repository is registered; run `codeintel add PATH_OR_URL`"])


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
            f"  chunks           {state.chunks}",
            f"  secondary ratio  {state.secondary_ratio:.1%}",
            f"  sparse           {printable(state.sparse)}",
            f"  dense device     {printable(state.dense_device)}",
        ]
    for label, value in (("group", state.group), ("held", state.held)):
        if value:
            lines.append(f"  {label:<15}  {value}")
    if state.problem:
        lines.append(f"  problem          {printable(state.problem)}")
    return lines


def _show_stages(services: Services, run_id: str) -> None:
    for path in services.home.ledger.glob(f"*/{run_id}.jsonl"):
        ended: list[dict[str, Any]] = [line for line in read_ledger(path) if line.get("event") == "end"]
        _remark([_stage_line(s["kind"], s["status"], s["duration_ms"], s["reason"]) for s in ended])


def _stage_line(kind: str, status: str, ms: float, reason: str) -> str:
    return f"{kind:<18} {status:<10} {ms:>9.1f} ms  {reason}".rstrip()


def _remark(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(printable(line), err=True)
