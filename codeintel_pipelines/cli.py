"""Commands that write: add, build, analytics. Heavy imports stay inside, so that `codeintel --help` is instant."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

app = typer.Typer()
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    source: Annotated[str, typer.Argument(help="Path or URL of a git repository.")],
    name: Annotated[str, typer.Option(help="Name to register it under (default: from the source).")] = "",
    branch: Annotated[str, typer.Option(help="Branch to follow (default: the source's HEAD).")] = "",
    as_json: Json = False,
) -> None:
    """Register a repository: fetch a mirror of it into the home."""
    from codeintel_core.home import Home
    from codeintel_core.repository import mirror
    from codeintel_core.settings import get_settings
    from codeintel_pipelines.runs import register_partition

    settings = get_settings()
    home = Home(settings.home)
    entry = mirror.add(home, source, name=name, branch=branch, timeout_s=settings.git_timeout_s)
    register_partition(home, entry.name)
    commit = mirror.head(home, entry.name)
    if as_json:
        print(json.dumps({"name": entry.name, "source": mirror.redact(entry.source), "commit": commit}))
    else:
        print(f"{entry.name}: registered at {commit[:10]}; next: codeintel build {entry.name}")


@app.command()
def build(
    name: Annotated[str, typer.Argument(help="Name of a registered repository.")],
    force: Annotated[bool, typer.Option(help="Build everything anew even when nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Build and publish a generation of a repository (runs the Dagster job build_repository)."""
    from codeintel_core.generations.publish import current_id
    from codeintel_core.home import Home
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import runs

    home = Home(get_settings().home)
    before = current_id(home.repository(name))
    with runs.ProgressBars().shown():
        manifest = runs.build(home, name, force=force)
    if as_json:
        sys.stdout.write(manifest.model_dump_json(exclude={"files"}) + "\n")
    elif manifest.gen_id == before:
        print(f"{name}: up to date, generation {manifest.gen_id} at {manifest.commit[:10]}")
    else:
        counts, skipped = manifest.counts, {k: v for k, v in manifest.coverage.items() if k != "indexed"}
        print(f"{name}: published generation {manifest.gen_id} at {manifest.commit[:10]}")
        print(f"  {counts.files} files, {counts.chunks} chunks, {counts.symbols} symbols, skipped {skipped or 'none'}")


@app.command()
def analytics(as_json: Json = False) -> None:
    """Turn trace journals into tables and rewrite codeintel.duckdb (runs the Dagster jobs)."""
    from codeintel_core.home import Home
    from codeintel_core.settings import get_settings
    from codeintel_pipelines import runs

    home = Home(get_settings().home)
    days = runs.refresh_analytics(home)
    if as_json:
        print(json.dumps({"days": days, "database": str(home.analytics)}))
    else:
        print(f"{home.analytics}: {len(days)} day(s) of traces compacted; views answers, stages, candidates")
