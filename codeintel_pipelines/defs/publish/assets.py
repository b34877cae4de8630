"""Publishing: the staged artefacts become an immutable generation, after it answered smoke queries."""

from collections.abc import Iterator

import dagster as dg

from codeintel_core.errors import PublishConflict
from codeintel_core.generations import manifest as manifests
from codeintel_pipelines.build import plan as plans
from codeintel_pipelines.build.release import release
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot, recorded, skip_run, staged_build

_PARTS = (
    "chunks", "symbols", "embeddings", "faiss_primary", "faiss_secondary", "lucene_index", "splade_index", "catalog",
)  # fmt: skip
_CHECKS = ("smoke_queries", "citations_match_source")


@dg.asset(
    partitions_def=repositories,
    group_name="publish",
    deps=_PARTS,
    kinds={"generation"},
    owners=["team:code-intelligence"],
    check_specs=[dg.AssetCheckSpec(name, asset="generation", blocking=True) for name in _CHECKS],
    output_required=False,
    description="Manifest with digests, smoke queries through the real engine, one rename, one pointer swap.",
)
def generation(
    context: dg.AssetExecutionContext, home: HomeResource
) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
    """Publish what was staged; nothing becomes visible unless every check passed and CURRENT is still the parent."""
    build = staged_build(context, home)
    if build.plan.up_to_date and build.plan.parent:
        manifest = manifests.load(build.folder)
        kept = {"kept_from_generation": manifest.gen_id}
        results = [dg.AssetCheckResult(check_name=name, passed=True, metadata=kept) for name in _CHECKS]
    else:
        with recorded(context, home, "build.publish") as step:
            try:
                released = release(build, context.run.run_id, _PARTS)
            except PublishConflict as error:
                step.skip(str(error))
                skip_run(context, error)
                plans.finish(build, context.run.run_id)
                # They passed, or there would have been no attempt to publish; Dagster wants their results.
                lost = {"not_published": str(error)}
                yield from (dg.AssetCheckResult(check_name=name, passed=True, metadata=lost) for name in _CHECKS)
                return
            manifest = released.manifest
            step.set(gen_id=manifest.gen_id)
        results = [
            dg.AssetCheckResult(check_name=name, passed=verdict.passed, metadata=verdict.facts)
            for name, verdict in released.verdicts.items()
        ]
    plans.finish(build, context.run.run_id)
    yield dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.gen_id),
        metadata={
            "generation": manifest.gen_id,
            "commit": manifest.commit,
            "parent": manifest.parent or "none",
            "counts": manifest.counts.model_dump(),
            "coverage": bar_plot(manifest.coverage),
            "secondary_ratio": manifest.counts.compaction_ratio,
            "size_bytes": sum(file.size_bytes for file in manifest.files.values()),
            "vector_engine": manifest.vector_engine.model_dump(),
        },
        check_results=results,
    )
