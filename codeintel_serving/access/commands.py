"""`codeintel keys`: make, list and revoke API keys."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from codeintel_core.home import Home
from codeintel_serving.access.principal import Permission

app = typer.Typer(no_args_is_help=True, help="API keys: who may reach the server, and what each may see.")


@app.command()
def create(
    permission: Annotated[
        list[Permission] | None, typer.Option("--permission", help="What it may do; repeatable, read and answer.")
    ] = None,
    repo: Annotated[
        list[str] | None, typer.Option("--repo", help="Name or glob of repositories; repeatable, all by default.")
    ] = None,
    label: Annotated[str, typer.Option(help="Whose it is, for the list.")] = "",
    days: Annotated[float | None, typer.Option(min=0.0001, max=36_500, help="Days until it expires.")] = None,
    rate: Annotated[str, typer.Option(help="Its own rate limit, such as 600/minute, or none.")] = "",
) -> None:
    """Make a key; it is shown once, on stdout."""
    from codeintel_serving.access import keys

    secret, key = keys.create(
        _home().keys,
        permissions=permission or [Permission.READ, Permission.ANSWER],
        repos=repo or ["*"],
        label=label,
        expires_days=days,
        rate_limit=rate,
    )
    typer.echo(f"key {key.id}: {' '.join(key.permissions)} on {' '.join(key.repos)}; it is shown this once", err=True)
    typer.echo(secret)


@app.command(name="list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show all keys, without their secrets."""
    from codeintel_serving.access import keys
    from codeintel_serving.display import printable

    now = datetime.now(UTC)
    found = keys.load(_home().keys)
    if as_json:
        rows = [key.model_dump(mode="json", exclude={"sha256"}) | {"state": key.state(now)} for key in found]
        typer.echo(json.dumps(rows, indent=2))
        return
    for key in found:
        until = f"until {key.expires_at:%Y-%m-%d %H:%M}" if key.expires_at else "no expiry"
        columns = [key.id, f"{key.state(now):<8}", ",".join(key.permissions), ",".join(key.repos), until]
        typer.echo("  ".join([*columns, printable(key.label)]).rstrip())
    if not found:
        typer.echo("there are no keys; the server answers everybody on this machine, and nobody else", err=True)


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="Id of the key, or the key itself.")]) -> None:
    """Revoke a key; running servers refuse it within milliseconds."""
    from codeintel_serving.access import keys

    typer.echo(f"revoked {keys.revoke(_home().keys, key).id}")


def _home() -> Home:
    from codeintel_core.settings import get_settings

    return Home(get_settings().home)
