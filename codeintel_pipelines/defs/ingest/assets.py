"""Ingest: the files of a commit, their chunks and symbols."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from codeintel_core import schemas
from codeintel_core.chunking import CHUNKER_VERSION
from codeintel_core.errors import BuildInProgress
from codeintel_pipelines.build import parts
from codeintel_pipelines.build import plan as plans
from codeintel_pipelines.build.ingest import ingest
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import (
    bar_plot,
    check_specs,
    column_schema,
    is_finished,
    materialize,
    partition_of,
    recorded,
    skip_run,
)


class SourceFilesConfig(dg.Config):
    """How to plan a build."""

    force: bool = False
    """Build everything anew even when nothing changed."""
    compact: bool = False
    """Merge the indexes of the served commit instead of building the head."""
    embed: plans.Embed = plans.Embed.AUTO
    """Which chunks get a vector, by name: `AUTO` publishes lexical first when all of them would take long."""


@dg.asset(
    partitions_def=repositories,
    group_name="ingest",
    deps=["repository_head"],
    kinds={"git"},
    owners=["team:code-intelligence"],
    output_required=False,
    description="Fetches the source and plans the build: the commit, and what changed since the served generation.",
)
def source_files(
    context: dg.AssetExecutionContext, home: HomeResource, config: SourceFilesConfig
) -> Iterator[dg.MaterializeResult]:
    """Plan of one build; while another run builds this repository, the whole run is skipped."""
    with recorded(context, home, "build.plan") as step:
        try:
            build = plans.start(
                home.home,
                home.settings,
                partition_of(context),
                context.run.run_id,
                is_finished(context),
                force=config.force,
                compact=config.compact,
                embed=config.embed,
            )
        except BuildInProgress as error:
            step.skip(str(error))
            skip_run(context, error)
            return
        changes = build.changes
        counts = {
            "added": len(changes.added),
            "changed": len(changes.changed),
            "removed": len(changes.removed),
            "unchanged": len(changes.unchanged),
        }
        step.set(**counts, up_to_date=build.plan.up_to_date)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(build.plan.commit),
        metadata={
            "commit": build.plan.commit,
            "parent_generation": build.plan.parent or "none",
            "up_to_date": build.plan.up_to_date,
            "dagster/row_count": len(build.tree),
            "changes": bar_plot(counts),
            **counts,
        },
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            name,
            deps=["source_files"],
            group_name="ingest",
            kinds={"treesitter", "parquet"},
            owners=["team:code-intelligence"],
            code_version=str(CHUNKER_VERSION),
            description=description,
        )
        for name, description in (
            ("chunks", "Spans of whole definitions, cut along the syntax tree; every file is chunked or skipped."),
            ("symbols", "Definitions, and references by name."),
        )
    ],
    partitions_def=repositories,
    check_specs=check_specs("chunks"),
)
def chunks_and_symbols(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:
    """Both tables come from one parse of each file."""
    found: dict[str, Any] = {}

    def stage(build: plans.Build) -> dict[str, Any]:
        result = ingest(build)
        found["symbols"] = result.symbols
        return {
            "dagster/row_count": result.chunks,
            "dagster/column_schema": column_schema(schemas.CHUNKS),
            "files": result.files,
            "reused_files": result.reused_files,
            "coverage": result.coverage,
            "redacted": result.redacted,
            "engine": result.ran.engine,
            "workers": result.ran.workers,
            "retries": result.ran.retries,
            "languages": bar_plot(result.languages),
            "size_bytes": parts.size_bytes(build.folder / "chunks.parquet"),
        }

    done = materialize(context, home, "chunks", "build.chunks", stage)
    yield done
    metadata: dict[str, Any] = {"dagster/column_schema": column_schema(schemas.SYMBOLS)}
    if "symbols" in found:
        metadata["dagster/row_count"] = found["symbols"]
    yield dg.MaterializeResult(asset_key="symbols", metadata=metadata, data_version=done.data_version)
