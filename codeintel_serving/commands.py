"""What the commands `search`, `answer` and `status` print: results on stdout, remarks on stderr."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from codeintel_core.telemetry import run
from codeintel_core.telemetry.ledger import read as read_ledger
from codeintel_serving.answer import orchestrator
from codeintel_serving.display import inline, printable
from codeintel_serving.explanation import explanation_lines
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
    """Answer and print the text and its citations."""
    request = checked(AnswerRequest, question=question, scope=scope)
    services.warm(request.scope.repos, request.scope.as_of)
    found = asyncio.run(_answered(services, request))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        typer.echo(found.answer)
        for cited in found.citations:
            typer.echo(_citation_line(cited))
        reasons = "; ".join(found.confidence.reasons)
        _remark([f"confidence {found.confidence.value:.2f}: {reasons}", *found.limits])
    if verbose:
        _show_stages(services, found.run_id)


async def _answered(services: Services, request: AnswerRequest) -> AnswerResponse:
    try:
        return await orchestrator.answer(services, request, _CALLER)
    finally:
        await services.aclose()


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
            f"  redacted         {state.redacted.get('values', 0)} values in {state.redacted.get('files', 0)} files",
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
        _remark(
            [f"{s['kind']:<18} {s['status']:<10} {s['duration_ms']:>9.1f} ms  {s['reason']}".rstrip() for s in ended]
        )


def _remark(lines: Sequence[str]) -> None:
    for line in lines:
        typer.echo(printable(line), err=True)
