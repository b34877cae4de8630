"""Release: write the manifest, open what was staged as a reader would, ask it, and only then publish it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from codeintel_core import identity
from codeintel_core.catalog import ChunkRow
from codeintel_core.embedding.select import encoder_for
from codeintel_core.errors import BuildFailed, PublishConflict
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import Counts, Manifest, SparseFacts
from codeintel_core.objects.shared import publish_shared
from codeintel_core.retrieval.engine import SearchEngine
from codeintel_core.retrieval.tuning import Tunings
from codeintel_core.scope import Scope
from codeintel_pipelines.build import vector_engine, verify
from codeintel_pipelines.build.ingest import redacted
from codeintel_pipelines.build.plan import Build, versions
from codeintel_pipelines.build.verify import Verdict

_SAMPLE = 25  # definitions that are compared with the source
_SMOKE_QUERIES = 10  # of them are asked for
_SMOKE_TOP = 10
_SMOKE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Released:
    """The published manifest and the verdicts that allowed it."""

    manifest: Manifest
    verdicts: dict[str, Verdict]


def release(build: Build, dagster_run_id: str, asset_keys: Sequence[str]) -> Released:
    """Publish the staged generation.

    Raises:
        BuildFailed: a smoke query or the comparison with the source failed; nothing was published.
        PublishConflict: another generation was published meanwhile.
        BucketUnavailable: the home's bucket cannot be used; nothing was published.
    """
    manifest = describe(build, dagster_run_id, asset_keys)
    generation = Generation(build.folder, manifest, build.repository.mirror)
    generation.acquire()
    try:
        sample = generation.catalog.sample_definitions(_SAMPLE)
        verdicts = {
            "smoke_queries": _smoke(build, generation, sample[:_SMOKE_QUERIES]),
            "citations_match_source": verify.citations_match_source(generation, sample),
        }
    finally:
        generation.retire()
        generation.release()
    failed = [f"{name} ({verdict.facts})" for name, verdict in verdicts.items() if not verdict.passed]
    if failed:
        raise BuildFailed(f"'{build.plan.repo}' was not published: {'; '.join(failed)}")
    manifest = vector_engine.publish(build, manifest)
    try:
        publish_shared(build.settings, build.repository, build.folder, manifest, build.plan.purged)
    except PublishConflict:
        vector_engine.withdraw(build.settings, manifest)
        raise
    return Released(manifest, verdicts)


def describe(build: Build, dagster_run_id: str, asset_keys: Sequence[str]) -> Manifest:
    """The manifest of what is staged."""
    created_at = datetime.now(UTC)
    commit = build.git.commit(build.plan.commit)
    parent = build.parent_manifest
    listed = build.read("files.parquet", ["skip_reason", "redactions"])
    files = listed["skip_reason"].to_pylist()
    rows, sizes, lucene, sparse = (
        build.facts(stage) for stage in ("chunks", "faiss_secondary", "lucene_index", "splade_index")
    )
    return Manifest(
        format_version=manifests.FORMAT_VERSION,
        gen_id=identity.new_gen_id(created_at, commit.sha),
        parent=build.plan.parent,
        repo=build.plan.repo,
        branch=build.plan.branch,
        commit=commit.sha,
        committed_at=commit.committed_at,
        created_at=created_at,
        dagster_run_id=dagster_run_id,
        asset_keys=tuple(asset_keys),
        versions=versions(build.settings.secret_files),
        contract=build.contract,
        dense=build.facts("faiss_primary"),
        counts=Counts(
            files=len(files),
            chunks=rows["chunks"],
            symbols=rows["symbols"],
            primary=sizes["primary"],
            secondary=sizes["secondary"],
            tombstones=sizes["tombstones"],
            lucene=lucene["documents"],
        ),
        coverage=dict(sorted(Counter(reason or "indexed" for reason in files).items())),
        redacted=redacted(listed),
        reuse={
            "files": len(build.changes.unchanged),
            "lucene_added": lucene["added"],
            "sparse_added": sparse["added"],
            "catalog_overlay": build.facts("catalog")["overlay"],
        },
        files=manifests.digests(build.folder, build.parent_folder, parent.files if parent else None),
        sparse=SparseFacts.model_validate(sparse["sparse"]),
        tuning_id=Tunings(build.home)().tuning_id,
    )


def _smoke(build: Build, generation: Generation, sample: Sequence[ChunkRow]) -> Verdict:
    """Ask for definitions by name through the real engine."""
    encoder = encoder_for(build.settings, threads=build.settings.embedding_threads)  # the one that embedded
    settings = build.settings.model_copy(update={"retrieval_budget_ms": 30_000})
    engine = SearchEngine(settings, lambda: encoder)
    try:
        missed = []
        for chunk in sample:
            result = engine.search(chunk.name, [generation], scope=Scope(), limit=_SMOKE_TOP)
            if result.degraded or chunk.chunk_id not in [hit.chunk.chunk_id for hit in result.hits]:
                missed.append(chunk.name)
    finally:
        engine.close()
    passed = not sample or len(missed) <= (1 - _SMOKE_SHARE) * len(sample)
    return Verdict(passed, {"queries": len(sample), "missed": missed[:5]})
