"""Publishing: the staged artefacts become an immutable generation, after it answered smoke queries."""

import dagster as dg

from codeintel_core.generations import manifest as manifests
from codeintel_pipelines.build import plan as plans
from codeintel_pipelines.build.release import release
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot, recorded, staged_build

_PARTS = ("chunks", "symbols", "embeddings", "faiss_primary", "faiss_secondary", "lucene_index", "catalog")
_CHECKS = ("smoke_queries", "citations_match_source")


@dg.asset(
    partitions_def=repositories,
    group_name="publish",
    deps=_PARTS,
    kinds={"generation"},
    owners=["team:code-intelligence"],
    check_specs=[dg.AssetCheckSpec(name, asset="generation", blocking=True) for name in _CHECKS],
    description="Manifest with digests, smoke queries through the real engine, one rename, one pointer swap.",
)
def generation(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Publish what was staged; nothing becomes visible unless every check passed."""
    build = staged_build(context, home)
    if build.plan.up_to_date and build.plan.parent:
        manifest = manifests.load(build.folder)
        kept = {"kept_from_generation": manifest.gen_id}
        results = [dg.AssetCheckResult(check_name=name, passed=True, metadata=kept) for name in _CHECKS]
    else:
        with recorded(context, home, "build.publish") as step:
            released = release(build, context.run.run_id, _PARTS)
            manifest = released.manifest
            step.set(gen_id=manifest.gen_id)
        results = [
            dg.AssetCheckResult(check_name=name, passed=verdict.passed, metadata=verdict.facts)
            for name, verdict in released.verdicts.items()
        ]
    plans.finish(build, context.run.run_id)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(manifest.gen_id),
        metadata={
            "generation": manifest.gen_id,
            "commit": manifest.commit,
            "parent": manifest.parent or "none",
            "counts": manifest.counts.model_dump(),
            "coverage": bar_plot(manifest.coverage),
            "secondary_ratio": manifest.counts.compaction_ratio,
            "size_bytes": sum(file.size_bytes for file in manifest.files.values()),
        },
        check_results=results,
    )
