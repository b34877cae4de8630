"""Commands that read: search, answer, serve, status, doctor, mcp. Heavy imports wait inside the commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from codeintel_serving.services import Services

app = typer.Typer(no_args_is_help=True)

Repos = Annotated[list[str] | None, typer.Option("--repo", help="Repository to ask; repeatable, all by default.")]
Paths = Annotated[list[str] | None, typer.Option("--path", help="Glob over paths (`src/**`); repeatable.")]
Languages = Annotated[list[str] | None, typer.Option("--language", help="Language such as python; repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the stages on stderr.")]


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="A name, a path, an error text or a question.")],
    repo: Repos = None,
    path: Paths = None,
    language: Languages = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most results.")] = 10,
    mode: Annotated[str, typer.Option(help="hybrid, lexical or semantic.")] = "hybrid",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find spans of code: one line per hit, `path:start-end` first."""
    from codeintel_serving import commands

    with _services() as services:
        commands.search(services, query, repo or [], path or [], language or [], limit, mode, as_json, verbose)


@app.command()
def answer(
    question: Annotated[str, typer.Argument(help="The question.")],
    repo: Repos = None,
    path: Paths = None,
    language: Languages = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Answer a question from the index, with verified citations."""
    from codeintel_serving import commands

    with _services() as services:
        commands.answer(services, question, repo or [], path or [], language or [], as_json, verbose)


@app.command()
def status(repo: Repos = None, as_json: Json = False) -> None:
    """Show what is indexed: generation, freshness and coverage of each repository."""
    from codeintel_serving import commands

    with _services() as services:
        commands.status(services, repo or [], as_json)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Loopback address to bind (default: setting `host`).")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port (default: setting `port`).")] = None,
) -> None:
    """Serve REST, SSE and MCP over HTTP; new generations are picked up without a restart."""
    from codeintel_serving import hosting

    with _services() as services:
        settings = services.settings
        hosting.serve(services, host if host is not None else settings.host, port or settings.port)


@app.command()
def mcp() -> None:
    """Serve MCP over stdio; nothing else is written to stdout."""
    from codeintel_serving import hosting

    with hosting.protocol_only_stdout(), _services() as services:
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


def _services() -> Services:
    """Services over the configured home; raises `NotIndexed` when there is none."""
    from codeintel_core.errors import NotIndexed
    from codeintel_core.settings import get_settings
    from codeintel_serving.services import Services

    settings = get_settings()
    if not settings.home.is_dir():
        raise NotIndexed(f"there is no home at {settings.home}; run `codeintel add PATH_OR_URL` or set CODEINTEL_HOME")
    return Services(settings)
