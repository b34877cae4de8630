"""What the commands that write print; Dagster is imported only once a run is really needed."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import typer

from codeintel_core.errors import CodeIntelError
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.rollback import hold_of
from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.objects.shared import prepare, share
from codeintel_core.settings import Settings, get_settings
from codeintel_pipelines import groups, retention
from codeintel_pipelines.build.plan import up_to_date

_MIB = 1 << 20


def add_all(home: Home, settings: Settings, listed: Path, as_json: bool) -> None:
    """Register the repositories of a file; exit code 1 when one could not be."""
    from codeintel_pipelines.runs import register_partitions

    found = groups.register_all(home, settings, groups.read_file(listed), listed.parent)
    share(settings)
    register_partitions(home, [entry.name for entry in found if not entry.error])
    if as_json:
        print(json.dumps([asdict(entry) for entry in found]))
    else:
        for entry in found:
            print(f"{entry.source}: {entry.error}" if entry.error else f"{entry.name}: registered")
    if any(entry.error for entry in found):
        raise typer.Exit(1)


def build(home: Home, settings: Settings, name: str, force: bool, as_json: bool) -> None:
    """Build one repository, or say that it is up to date without starting a run."""
    prepare(settings, home, name)
    kept = None if force else up_to_date(home, settings, name)
    manifest = kept or _run_build(home, name, force)
    if as_json:
        sys.stdout.write(manifest.model_dump_json(exclude={"files"}) + "\n")
    elif kept is not None:
        print(f"{name}: up to date, generation {manifest.gen_id} at {manifest.commit[:10]}")
    else:
        counts, skipped = manifest.counts, {k: v for k, v in manifest.coverage.items() if k != "indexed"}
        print(f"{name}: published generation {manifest.gen_id} at {manifest.commit[:10]}")
        print(f"  {counts.files} files, {counts.chunks} chunks, {counts.symbols} symbols, skipped {skipped or 'none'}")
        if settings.vector_engine is not None:
            print(f"  vector engine: {manifest.vector_engine.reason or f'{manifest.vector_engine.count} vectors'}")


def build_all(home: Home, settings: Settings, force: bool, as_json: bool) -> None:
    """Build every repository that is not up to date, one after the other; exit code 1 when one failed."""
    done: list[dict[str, str]] = []
    for name in home.repository_names():
        done.append({"name": name, **_build_one(home, settings, name, force)})
        if not as_json:
            entry = done[-1]
            print(f"{name}: {entry['status']}" + (f": {entry['detail']}" if entry["detail"] else ""))
    if as_json:
        print(json.dumps(done))
    failed = [entry["name"] for entry in done if entry["status"] == "failed"]
    if failed:
        sys.stderr.write(f"error: {len(failed)} of {len(done)} failed: {', '.join(failed)}\n")
        raise typer.Exit(1)


def compact(home: Home, name: str, as_json: bool) -> None:
    """Compact one repository; a run that found another one at work is skipped, which is not a failure."""
    from codeintel_core.generations.publish import current_id
    from codeintel_pipelines import runs

    before = current_id(home.repository(name))
    manifest, reason = runs.compact(home, name)
    if not reason and manifest.gen_id == before:
        reason = "it is compact already"
    if as_json:
        found = {"name": name, "generation": manifest.gen_id, "skipped": reason, "dense": manifest.dense.get("kind")}
        print(json.dumps(found))
    elif reason:
        print(f"{name}: skipped, {reason}")
    else:
        print(f"{name}: published generation {manifest.gen_id} at {manifest.commit[:10]}")
        print(
            f"  primary {manifest.dense.get('kind')} of {manifest.counts.primary} vectors, no secondary, no tombstones"
        )


def gc(home: Home, settings: Settings, names: Sequence[str], dry_run: bool, as_json: bool) -> None:
    """Collect garbage and say what was kept and why."""
    swept = retention.sweep(home, settings, names, dry_run=dry_run)
    if as_json:
        print(json.dumps(asdict(swept) | {"dry_run": dry_run}))
        return
    verb = "would remove" if dry_run else "removed"
    for done in swept.repositories:
        print(f"{done.repo}: {verb} {len(done.removed)} generations ({done.freed_bytes / _MIB:.1f} MiB)")
        lines = [f"  {verb} {gen_id}" for gen_id in done.removed]
        lines += [f"  {verb} leftover {left}" for left in done.leftovers]
        lines += [f"  kept {gen_id}: {', '.join(why)}" for gen_id, why in sorted(done.kept.items())]
        print("\n".join(lines))
    for gone in swept.bucket:
        print(
            f"{gone.repo} in the bucket: {verb} {len(gone.dropped)} generations, "
            f"{gone.deleted_objects} objects ({gone.deleted_bytes / _MIB:.1f} MiB)"
        )
    for gone_there in swept.vector_engine:
        print(
            f"{gone_there.repo} in the vector engine: {verb} {len(gone_there.generations)} generations, "
            f"{gone_there.rows} rows"
        )
    for left in swept.interrupted_adds:
        print(f"{verb} {left}, left by an interrupted `add`")
    if (old := swept.traces) is not None:
        print(
            f"traces: {verb} {len(old.traces)} days, {old.journals} compacted journals; "
            f"ledgers: {verb} {len(old.ledgers)} days"
        )
    if swept.handed_over:
        print(f"handed over: {verb} {swept.handed_over} journals and segments")
    if swept.delta_files:
        print(f"Delta tables: {verb} {len(swept.delta_files)} files of old versions")


def remark_on_others() -> None:
    """Say that these tables have the rows of one machine, where another makes those of all."""
    handover = shared.handover(get_settings())
    standing = handover.standing() if handover is not None else None
    if standing is not None and standing.collector and not standing.is_mine:
        sys.stderr.write(f"only rows of this machine: {standing.collector} makes the tables of all\n")


def export(home: Home, name: str, as_json: bool) -> None:
    """Export to Delta Lake and say where the tables are."""
    from codeintel_pipelines import runs

    tables = runs.export(home, name)
    print(json.dumps({"tables": list(map(str, tables))}) if as_json else "\n".join(map(str, tables)))


def purge(
    home: Home, settings: Settings, name: str, text: str, pattern: str, path: str, blob: str, yes: bool,
    wait_s: float, gone: Sequence[str], as_json: bool,
) -> None:  # fmt: skip
    """Purge, or say what would be; exit code 1 when something was found afterwards, or a machine may still serve it."""
    from codeintel_core.objects.shared import bucket_purge
    from codeintel_pipelines.purge import purge as purges

    bucket = bucket_purge(settings, wait_s=wait_s, gone=gone)
    if text == "-":
        text = sys.stdin.read().rstrip("\r\n")
    target = purges.target_of(home, text=text, pattern=pattern, repo=name, path=path, blob=blob)

    def rebuild(repo: str) -> Manifest:
        return _run_build(home, repo, force=True)

    report = purges.purge(home, settings, target, text=text, rebuild=rebuild, is_dry=not yes, bucket=bucket)
    print(json.dumps(asdict(report)) if as_json else "\n".join(purges.lines(report)))
    if report.left or report.unconfirmed:
        raise typer.Exit(1)


def _build_one(home: Home, settings: Settings, name: str, force: bool) -> dict[str, str]:
    try:
        prepare(settings, home, name)
        hold = hold_of(home, name)
        kept = None if force else up_to_date(home, settings, name)
        if kept is not None:
            return {"status": "up to date", "detail": kept.gen_id}
        if hold is not None and not force and _is_still_at(home, settings, name, hold.head):
            return {"status": "held", "detail": f"rolled back from {hold.head[:10]}"}
        return {"status": "published", "detail": _run_build(home, name, force).gen_id}
    except CodeIntelError as error:
        return {"status": "failed", "detail": str(error)}


def _is_still_at(home: Home, settings: Settings, name: str, commit: str) -> bool:
    from codeintel_core.repository import mirror

    return mirror.source_head(home, name, timeout_s=settings.git_timeout_s) == commit


def _run_build(home: Home, name: str, force: bool) -> Manifest:
    from codeintel_pipelines import runs

    with runs.ProgressBars().shown():
        return runs.build(home, name, force=force)
