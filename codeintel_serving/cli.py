"""Commands that read: the tools, generations, serve, mcp, doctor. Heavy imports wait inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codeintel_serving import telemetry_cli
from codeintel_serving.access import commands as keys
from codeintel_serving.tool_command import ToolCommand, open_services, settings_of_home
from codeintel_serving.tools.registry import SERVED_ONLY, SUMMARIES

if TYPE_CHECKING:
    from codeintel_core.home import Home

app = typer.Typer(no_args_is_help=True)
app.add_typer(keys.app, name="keys")
app.add_typer(telemetry_cli.telemetry, name="telemetry")
app.add_typer(telemetry_cli.runpack, name="runpack")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

for _name, _summary in SUMMARIES.items():
    if _name not in SERVED_ONLY:
        app.command(_name, cls=ToolCommand, help=_summary)(lambda: None)


@app.command()
def feedback(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="Run that answered; `last` is the newest.")],
    useful: Annotated[bool, typer.Option("--useful", help="The answer, or the citation, helped.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="It is wrong or beside the question.")] = False,
    opened: Annotated[bool, typer.Option("--opened", help="The place that the citation names was opened.")] = False,
    citation: Annotated[int, typer.Option(help="Number of the citation it is about; 0 is the whole answer.")] = 0,
    note: Annotated[str, typer.Option(help="What to say about it.")] = "",
    as_json: Json = False,
) -> None:
    """Say what an answer was worth: one of --useful, --wrong and --opened."""
    from codeintel_core.errors import InvalidRequest
    from codeintel_serving import commands

    kinds = [name for name, is_given in (("useful", useful), ("wrong", wrong), ("opened", opened)) if is_given]
    if len(kinds) != 1:
        raise InvalidRequest("say one thing: --useful, --wrong or --opened")
    with open_services() as services:
        commands.feedback(services, run_id, {"kind": kinds[0], "citation": citation, "note": note}, as_json)


@app.command()
def generations(
    name: Annotated[str, typer.Argument(help="Name of a registered repository.")], as_json: Json = False
) -> None:
    """List the generations that are kept: commit, time, size, and whether current, pinned or in use."""
    from codeintel_serving import generations as listing

    listing.listed(_home(name), name, as_json)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Loopback address to bind (default: setting `host`).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (default: setting `port`).")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes behind the port (default: setting `workers`).")
    ] = None,
) -> None:
    """Serve REST, SSE and MCP over HTTP; new generations are picked up without a restart."""
    from codeintel_serving import hosting

    settings = settings_of_home()
    raise typer.Exit(
        hosting.serve(
            settings, host if host is not None else settings.host, port or settings.port, workers or settings.workers
        )
    )


@app.command(hidden=True)
def worker(listener: int, pages: int, folder: Path, number: int, count: int) -> None:
    """Be one of the processes of `serve --workers`, which starts this."""
    from codeintel_serving import hosting, workers

    if settings_of_home().worker_cpus == "own":
        workers.keep_to_own_cpus(number, count)  # before anything starts a thread
    with open_services(follow=False) as services:
        hosting.work(services, listener, pages, folder, number, count)


@app.command()
def mcp() -> None:
    """Serve MCP over stdio; nothing else is written to stdout."""
    from codeintel_serving import hosting

    with hosting.protocol_only_stdout(), open_services(follow=False) as services:
        hosting.serve_stdio(services)


@app.command()
def doctor(
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only what fails.")] = False, as_json: Json = False
) -> None:
    """Check that everything CodeIntel needs is here; exit code 1 when something is missing."""
    from codeintel_core.settings import get_settings
    from codeintel_serving import diagnosis

    findings = diagnosis.examine(get_settings())
    if as_json:
        typer.echo(diagnosis.as_json(findings))
    else:
        for finding in findings:
            if not (quiet and finding.ok):
                typer.echo(finding.line)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _home(name: str) -> Home:
    """The home, in which `name` is registered; raises `UnknownRepository`."""
    from codeintel_core.objects.shared import followed
    from codeintel_core.repository import mirror
    from codeintel_core.settings import get_settings

    home = followed(get_settings())
    mirror.registration(home, name)
    return home
