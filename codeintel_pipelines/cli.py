"""Commands that write: add, build, compact, gc, analytics, export, tuning and more; heavy imports wait inside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from codeintel_core.home import Home

app = typer.Typer()
tuning_app = typer.Typer(help="Weights of fusion that were learned from traces.", no_args_is_help=True)
app.add_typer(tuning_app, name="tuning")
Name = Annotated[str, typer.Argument(help="Name of a registered repository.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    source: Annotated[str, typer.Argument(help="Path or URL of a git repository.")] = "",
    name: Annotated[str, typer.Option(help="Name to register it under (default: from the source).")] = "",
    branch: Annotated[str, typer.Option(help="Branch to follow (default: the source's HEAD).")] = "",
    group: Annotated[str, typer.Option(help="Group of repositories with a common freshness target.")] = "",
    listed: Annotated[
        Path | None, typer.Option("--from", help="Register every [[repository]] of a TOML file.", dir_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Register a repository, or all of a file: fetch a mirror into the home."""
    from codeintel_core.errors import InvalidRequest
    from codeintel_core.objects import shared
    from codeintel_core.repository import mirror
    from codeintel_core.secrets import without_users
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import commands
    from codeintel_pipelines.runs import register_partitions

    if bool(source) == (listed is not None):
        raise InvalidRequest("give the path or URL of a git repository, or --from FILE.toml")
    settings = get_settings()
    home = shared.opened(settings, generations=False)
    if listed is not None:
        commands.add_all(home, settings, listed, as_json)
        return
    entry = mirror.add(home, source, name=name, branch=branch, group=group, timeout_s=settings.git_timeout_s)
    shared.share(settings)
    register_partitions(home, [entry.name])
    commit = mirror.head(home, entry.name)
    if as_json:
        found = {"name": entry.name, "source": without_users(entry.source), "commit": commit, "group": entry.group}
        print(json.dumps(found))
    else:
        print(f"{entry.name}: registered at {commit[:10]}; next: codeintel build {entry.name}")


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Name of a registered repository.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Build every repository that is not up to date.")] = False,
    force: Annotated[bool, typer.Option(help="Build everything anew even when nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Build and publish a generation of a repository (runs the Dagster job build_repository)."""
    from codeintel_core.errors import InvalidRequest
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import commands

    if bool(name) == every:
        raise InvalidRequest("give the name of a repository, or --all")
    settings = get_settings()
    if every:
        commands.build_all(opened(settings, generations=False), settings, force, as_json)
    else:
        commands.build(opened(settings, generations=False), settings, name, force, as_json)


@app.command()
def compact(name: Name, as_json: Json = False) -> None:
    """Merge the indexes of the served commit into a new generation (runs the Dagster job compact_repository)."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import commands

    commands.compact(opened(get_settings(), name), name, as_json)


@app.command()
def pin(
    name: Name,
    gen_id: Annotated[str, typer.Argument(metavar="GEN", help="Id of a generation.")],
    remove: Annotated[bool, typer.Option("--remove", help="Let garbage collection remove it again.")] = False,
    as_json: Json = False,
) -> None:
    """Keep a generation for ever."""
    from codeintel_core.generations import retention
    from codeintel_core.objects.shared import share
    from codeintel_core.settings import get_settings

    at = _home(name).repository(name)
    (retention.unpin if remove else retention.pin)(at, gen_id)
    share(get_settings())
    if as_json:
        print(json.dumps({"name": name, "generation": gen_id, "pinned": not remove}))
    else:
        print(f"{name}: {gen_id} is {'no longer pinned' if remove else 'pinned'}")


@app.command()
def rollback(
    name: Name,
    gen_id: Annotated[str, typer.Argument(metavar="[GEN]", help="Generation to serve (default: the previous).")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Let the head be built automatically again.")] = False,
    as_json: Json = False,
) -> None:
    """Serve an older generation; automatic builds wait until there is a newer commit."""
    from codeintel_core.errors import InvalidRequest
    from codeintel_core.generations import rollback as rollbacks
    from codeintel_core.objects import shared
    from codeintel_core.settings import get_settings

    settings, home = get_settings(), _home(name)
    if resume:
        if gen_id:
            raise InvalidRequest("--resume takes no generation")
        was_held = rollbacks.resume(home, name)
        shared.share(settings)
        if as_json:
            print(json.dumps({"name": name, "was_held": was_held}))
        else:
            print(f"{name}: " + ("the head may be built again" if was_held else "nothing was held back"))
        return
    manifest = rollbacks.roll_back(
        home, name, gen_id, lambda target: shared.announce(settings, home.repository(name), target)
    )
    shared.share(settings)
    hold = rollbacks.hold_of(home, name)
    if as_json:
        held = hold.head if hold else None
        print(json.dumps({"name": name, "generation": manifest.gen_id, "commit": manifest.commit, "held": held}))
    else:
        print(f"{name}: serves generation {manifest.gen_id} at {manifest.commit[:10]}")
        if hold:
            print(f"  {hold.head[:10]} is not built automatically until there is a newer commit, or --resume")


@app.command()
def gc(
    name: Annotated[str, typer.Argument(help="Name of a repository (default: all).")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove generations that are neither served, among the last, pinned, leased nor young."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import commands

    settings = get_settings()
    commands.gc(opened(settings), settings, [name] if name else [], dry_run, as_json)


@app.command()
def purge(
    name: Annotated[str, typer.Argument(help="Repository, for --path.")] = "",
    text: Annotated[str, typer.Option(help="Text to purge; `-` reads it from stdin, out of the shell's history.")] = "",
    pattern: Annotated[str, typer.Option(help="RE2 pattern whose matches are purged.")] = "",
    path: Annotated[str, typer.Option(help="Path of a file to purge.")] = "",
    blob: Annotated[str, typer.Option(help="Git object id of a file to purge, wherever it is.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Purge; without it, only say what would go.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for other machines of a home in a bucket.")] = 60,
    gone: Annotated[
        list[str] | None, typer.Option(help="Id of a folder of such a home that does not exist any more.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove a text or file from all generations, caches, traces and logs, keep it out, and prove that it is gone."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import commands

    settings = get_settings()
    home = opened(settings, generations=False)
    commands.purge(home, settings, name, text, pattern, path, blob, yes, wait, gone or (), as_json)


@app.command()
def analytics(as_json: Json = False) -> None:
    """Turn trace journals into tables and rewrite codeintel.duckdb (runs the Dagster jobs)."""
    from codeintel_pipelines import commands, runs

    home = _settings_home()
    days = runs.refresh_analytics(home)
    if as_json:
        print(json.dumps({"days": days, "database": str(home.analytics)}))
    else:
        print(f"{home.analytics}: {len(days)} day(s) of traces compacted; what is in it: docs/analytics.md")
        commands.remark_on_others()


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="Name of a repository (default: all, and the traces).")] = "",
    as_json: Json = False,
) -> None:
    """Write chunks and answer traces as Delta Lake tables (runs the Dagster jobs export_chunks and export_traces)."""
    from codeintel_pipelines import commands

    commands.export(_settings_home(), name, as_json)


@tuning_app.command("status")
def tuning_status(as_json: Json = False) -> None:
    """Which learned weights count, what else is kept, and what became of the last proposal."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import tuning_commands

    tuning_commands.status(opened(get_settings(), generations=False), as_json)


@tuning_app.command("learn")
def tuning_learn(as_json: Json = False) -> None:
    """Propose weights from what people opened, and promote them if later sessions say that they help."""
    from codeintel_pipelines import runs, tuning_commands

    runs.learn(_settings_home())
    tuning_commands.status(_settings_home(), as_json)


@tuning_app.command("rollback")
def tuning_rollback(
    tuning_id: Annotated[str, typer.Argument(metavar="[ID]", help="Document to use (default: the parent).")] = "",
    defaults: Annotated[bool, typer.Option("--defaults", help="Use the weights without learned factors.")] = False,
    as_json: Json = False,
) -> None:
    """Use older weights at once; nothing is promoted until `tuning resume`."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import tuning_commands

    settings = get_settings()
    home = opened(settings, generations=False)
    tuning_commands.rollback(home, settings, tuning_id, defaults, as_json)


@tuning_app.command("resume")
def tuning_resume(as_json: Json = False) -> None:
    """Allow promotions again after a roll back."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import tuning_commands

    settings = get_settings()
    tuning_commands.resume(opened(settings, generations=False), settings, as_json)


def _settings_home() -> Home:
    from codeintel_core.home import Home
    from codeintel_core.settings import get_settings

    return Home(get_settings().home)


def _home(name: str) -> Home:
    """The home, in which `name` is registered; raises `UnknownRepository`."""
    from codeintel_core.objects.shared import opened
    from codeintel_core.repository import mirror
    from codeintel_core.settings import get_settings

    home = opened(get_settings(), name)
    mirror.registration(home, name)
    return home


@app.command(name="eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="Folder with queries.jsonl, qrels.tsv and corpus.jsonl.")],
    corpus: Annotated[Path | None, typer.Option(help="corpus.jsonl elsewhere, or its folder.")] = None,
    clones: Annotated[Path | None, typer.Option(help="Clones of the repositories in the set's repos.json.")] = None,
    ablations: Annotated[bool, typer.Option(help="Also leave out each prior, channel and fusion.")] = False,
    as_json: Json = False,
) -> None:
    """Measure retrieval on an external set, over a throwaway index: recall, MRR and nDCG per channel and fused."""
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import runs
    from codeintel_pipelines.evaluation import report
    from codeintel_pipelines.evaluation.run import run

    with runs.ProgressBars().shown():
        found = run(folder, get_settings(), corpus=corpus, clones=clones, ablations=ablations)
    if as_json:
        print(json.dumps(report.as_json(found.results)))
    else:
        print(f"{report.table(found.results)}\n\n{report.differences(found.results)}\n")
        print("\n".join(f"trained primary of {repo}: {what}" for repo, what in found.primaries.items()))
