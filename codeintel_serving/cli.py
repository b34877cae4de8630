"""Commands that read: search, answer, status, generations and so on. Heavy imports wait inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from codeintel_serving import telemetry_cli

if TYPE_CHECKING:
    from codeintel_core.home import Home
    from codeintel_serving.services import Services

app = typer.Typer(no_args_is_help=True)
app.add_typer(telemetry_cli.telemetry, name="telemetry")
app.add_typer(telemetry_cli.runpack, name="runpack")

Repos = Annotated[list[str] | None, typer.Option("--repo", help="Repository to ask; repeatable, all by default.")]
Paths = Annotated[list[str] | None, typer.Option("--path", help="Glob over paths (`src/**`); repeatable.")]
Languages = Annotated[list[str] | None, typer.Option("--language", help="Language such as python; repeatable.")]
AsOf = Annotated[str, typer.Option("--as-of", help="Ask an older generation: its id, a date or a commit.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the stages on stderr.")]


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="A name, a path, an error text or a question.")],
    repo: Repos = None,
    path: Paths = None,
    language: Languages = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="Most results.")] = 10,
    mode: Annotated[
        str, typer.Option(help="auto, hybrid, lexical, semantic, sparse, exact (as written) or regex (RE2).")
    ] = "auto",
    explain: Annotated[bool, typer.Option("--explain", help="Show how each score came about.")] = False,
    as_of: AsOf = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Find spans of code: one line per hit, `path:start-end` first."""
    from codeintel_serving import commands

    with _services() as services:
        scope = _scope(repo, path, language, as_of)
        request = {"query": query, "scope": scope, "limit": limit, "mode": mode, "explain": explain}
        commands.search(services, request, as_json, verbose)


@app.command()
def answer(
    question: Annotated[str, typer.Argument(help="The question.")],
    repo: Repos = None,
    path: Paths = None,
    language: Languages = None,
    as_of: AsOf = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Answer a question from the index, with verified citations."""
    from codeintel_serving import commands

    with _services() as services:
        commands.answer(services, question, _scope(repo, path, language, as_of), as_json, verbose)


@app.command()
def read(
    targets: Annotated[list[str], typer.Argument(metavar="TARGET", help="repo:path, repo:path:10 or repo:path:10-40.")],
    as_of: AsOf = "",
    as_json: Json = False,
) -> None:
    """Print lines of files of the indexed commit; ids of search results are targets."""
    from codeintel_serving import commands

    with _services() as services:
        commands.read(services, targets, as_of, as_json)


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
    with _services() as services:
        commands.feedback(services, run_id, {"kind": kinds[0], "citation": citation, "note": note}, as_json)


@app.command()
def status(repo: Repos = None, as_json: Json = False) -> None:
    """Show what is indexed: generation, freshness and coverage of each repository."""
    from codeintel_serving import commands

    with _services() as services:
        commands.status(services, repo or [], as_json)


@app.command()
def generations(
    name: Annotated[str, typer.Argument(help="Name of a registered repository.")], as_json: Json = False
) -> None:
    """List the generations that are kept: commit, time, size, and whether current, pinned or in use."""
    from codeintel_serving import history

    history.generations(_home(name), name, as_json)


@app.command()
def diff(
    name: Annotated[str, typer.Argument(help="Name of a registered repository.")],
    old: Annotated[str, typer.Argument(metavar="GEN", help="Generation id, date or commit.")],
    new: Annotated[str, typer.Argument(metavar="GEN", help="Generation id, date or commit.")],
    as_json: Json = False,
) -> None:
    """Show what changed between two generations: chunks added, removed and moved."""
    from codeintel_serving import history

    history.diff(_home(name), name, old, new, as_json)


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


def _scope(repos: list[str] | None, paths: list[str] | None, languages: list[str] | None, as_of: str) -> dict[str, Any]:
    return {"repos": repos or [], "paths": paths or [], "languages": languages or [], "as_of": as_of}


def _home(name: str) -> Home:
    """The home, in which `name` is registered; raises `UnknownRepository`."""
    from codeintel_core.home import Home
    from codeintel_core.repository import mirror
    from codeintel_core.settings import get_settings

    home = Home(get_settings().home)
    mirror.registration(home, name)
    return home


def _services() -> Services:
    """Services over the configured home; raises `NotIndexed` when there is none."""
    from codeintel_core.errors import NotIndexed
    from codeintel_core.settings import get_settings
    from codeintel_serving.services import Services

    settings = get_settings()
    if not settings.home.is_dir():
        raise NotIndexed(f"there is no home at {settings.home}; run `codeintel add PATH_OR_URL` or set CODEINTEL_HOME")
    return Services(settings)
