"""What the commands `generations` and `diff` print."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from codeintel_core.generations import as_of, retention
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.difference import Place, difference
from codeintel_core.generations.retention import KeptGeneration
from codeintel_core.home import Home
from codeintel_serving.display import inline

_MIB = 1 << 20


def generations(home: Home, name: str, as_json: bool) -> None:
    """List what is kept, oldest first."""
    found = retention.describe(home.repository(name))
    if as_json:
        typer.echo(json.dumps([_facts(generation) for generation in found], indent=2))
        return
    for generation in found:
        typer.echo(_line(generation))
    if not found:
        typer.echo(f"nothing is published yet; run `codeintel build {name}`", err=True)


def diff(home: Home, name: str, old: str, new: str, as_json: bool) -> None:
    """Compare two generations; each may be named like `as_of`.

    Raises:
        UnknownGeneration: one is not kept.
        GenerationCorrupt: its chunks are not what was published.
    """
    at = home.repository(name)
    old_id, new_id = as_of.resolve(at, old), as_of.resolve(at, new)
    found = difference(_intact(at.generation(old_id)), _intact(at.generation(new_id)))
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    for sign, places in (("-", found.removed), ("+", found.added)):
        for place in places:
            typer.echo(f"{sign} {_place(place)}")
    for before, after in found.moved:
        typer.echo(f"> {_place(before)} -> {_place(after)}")
    counts = {"added": len(found.added), "removed": len(found.removed), "moved": len(found.moved)}
    typer.echo(", ".join(f"{n} {what}" for what, n in {**counts, "unchanged": found.unchanged}.items()), err=True)


def _intact(folder: Path) -> Path:
    """The folder, once the digest of what is compared was checked: a damaged Parquet file may be read as wrong rows."""
    manifests.verify(folder, manifests.load(folder), only="chunks.parquet")
    return folder


def _facts(generation: KeptGeneration) -> dict[str, object]:
    manifest = generation.manifest
    facts: dict[str, object] = {
        "generation": generation.gen_id,
        "size_bytes": generation.size_bytes,
        "current": generation.is_current,
        "pinned": generation.is_pinned,
        "readers": list(generation.readers),
        "problem": generation.problem,
    }
    if manifest is not None:
        facts |= {
            "commit": manifest.commit,
            "parent": manifest.parent,
            "built_at": manifest.created_at.isoformat(timespec="seconds"),
            "counts": manifest.counts.model_dump(),
            "secondary_ratio": round(manifest.counts.compaction_ratio, 4),
            "dagster_run_id": manifest.dagster_run_id,
        }
    return facts


def _line(generation: KeptGeneration) -> str:
    manifest = generation.manifest
    if manifest is None:
        return f"{generation.gen_id}  {generation.problem}"
    return "  ".join(
        [
            generation.gen_id,
            manifest.commit[:10],
            f"{manifest.created_at:%Y-%m-%d %H:%M}",
            f"{manifest.counts.chunks} chunks",
            f"{manifest.counts.compaction_ratio:.1%} to compact",
            f"{generation.size_bytes / _MIB:.1f} MiB",
            " ".join(generation.flags),
        ]
    ).rstrip()


def _place(place: Place) -> str:
    symbol = f" {inline(place.symbol)}" if place.symbol else ""
    return f"{inline(place.path)}:{place.start_line}-{place.end_line}{symbol}"
