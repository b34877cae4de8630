"""What the command `generations` prints."""

from __future__ import annotations

import json

import typer

from codeintel_core.generations import retention
from codeintel_core.generations.retention import KeptGeneration
from codeintel_core.home import Home

_MIB = 1 << 20


def listed(home: Home, name: str, as_json: bool) -> None:
    """List what is kept, oldest first."""
    found = retention.describe(home.repository(name))
    if as_json:
        typer.echo(json.dumps([_facts(generation) for generation in found], indent=2))
        return
    for generation in found:
        typer.echo(_line(generation))
    if not found:
        typer.echo(f"nothing is published yet; run `codeintel build {name}`", err=True)


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
