"""Commands about runs: `telemetry report|ledger|runpack|tail` and `runpack show|replay`. Heavy imports wait inside."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from codeintel_core.home import Home
    from codeintel_core.settings import Settings

telemetry = typer.Typer(no_args_is_help=True, help="What runs did: reports, ledgers, runpacks.")
runpack = typer.Typer(no_args_is_help=True, help="Look into a runpack, or ask its question again.")

RunId = Annotated[str, typer.Argument(metavar="[RUN]", help="Run id, as X-Run-Id answers it, or a Dagster run id.")]
Pack = Annotated[str, typer.Argument(metavar="RUNPACK", help="Id or path of a runpack.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.", dir_okay=False)]


class Form(StrEnum):
    """Forms of a report."""

    markdown = "markdown"
    html = "html"
    json = "json"


@telemetry.command()
def report(
    run_id: RunId = "last",
    form: Annotated[Form, typer.Option("--format", help="markdown, html or json.")] = Form.markdown,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Say what a run did, stage by stage, what stopped it and what stands out."""
    from codeintel_serving import run_reports

    home, settings = _home()
    found = run_reports.report(home, settings, run_id)
    _write(run_reports.rendered(found, run_reports.Format("json" if as_json else form.value)), output)


@telemetry.command()
def ledger(run_id: RunId = "last") -> None:
    """Print the ledger of a run: one JSON object per line."""
    from codeintel_core.reports.run_report import canonical
    from codeintel_core.telemetry import ledger as ledgers

    home, _ = _home()
    for line in ledgers.read(home.ledger, canonical(home, run_id)):
        typer.echo(json.dumps(line, ensure_ascii=False))


@telemetry.command(name="runpack")
def pack(run_id: RunId = "last", as_json: Json = False) -> None:
    """Pack a run into one redacted file; prints its path."""
    from codeintel_core.errors import StorageFailed
    from codeintel_core.reports import runpack as runpacks
    from codeintel_core.reports.run_report import canonical

    home, settings = _home()
    built = runpacks.build(home, canonical(home, run_id), trigger=runpacks.DEMAND, settings=settings)
    if built is None:
        raise StorageFailed(f"the runpack could not be written to {home.runpacks}; the log on stderr says why")
    found = {"runpack": built.run_id, "path": str(built.path), "size_bytes": built.size_bytes}
    typer.echo(json.dumps(found) if as_json else built.path)


@telemetry.command()
def tail(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000, help="How many runs.")] = 10,
    as_json: Json = False,
) -> None:
    """List the newest runs, the last one first: when, what, how it ended and why."""
    from codeintel_core.errors import UnknownRun
    from codeintel_core.reports.run_report import run_report
    from codeintel_core.telemetry import ledger as ledgers

    home, _ = _home()
    for path in ledgers.newest(home.ledger, count):
        try:
            found = run_report(home, path.stem)
        except UnknownRun:  # not a line was written
            continue
        if as_json:
            row = {key: getattr(found, key) for key in ("run_id", "started_at", "operation", "status", "duration_ms")}
            typer.echo(json.dumps({**row, "stopped_because": found.stopped_because}))
        else:
            took = "-" if found.duration_ms is None else f"{found.duration_ms:.0f} ms"
            words = [found.started_at[:19], found.run_id, f"{found.operation:<8}", f"{found.status:<9}", f"{took:>9}"]
            typer.echo("  ".join(filter(None, [*words, found.stopped_because])))


@runpack.command()
def show(pack: Pack, output: Output = None, as_json: Json = False) -> None:
    """Show a runpack as one HTML page (or its parts as JSON)."""
    from codeintel_core.reports import runpack as runpacks

    home, _ = _home()
    parts = runpacks.open_pack(home, pack)
    if as_json:
        parts.pop("report.html", None)
    _write(json.dumps(parts, indent=1) if as_json else runpacks.page(parts), output)


@runpack.command()
def replay(pack: Pack, as_json: Json = False) -> None:
    """Ask the recorded question of the recorded generations again; exit code 1 when the hits differ."""
    from codeintel_core.reports import runpack as runpacks
    from codeintel_serving import replay as replays

    home, settings = _home()
    found = replays.replay(home, settings, runpacks.open_pack(home, pack))
    typer.echo(json.dumps(found.as_json()) if as_json else found.text)
    if not found.is_same:
        raise typer.Exit(1)


def _home() -> tuple[Home, Settings]:
    from codeintel_core.home import Home
    from codeintel_core.settings import get_settings

    settings = get_settings()
    return Home(settings.home), settings


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text)
    else:
        output.write_text(text)
        typer.echo(str(output))
