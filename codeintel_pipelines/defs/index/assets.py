"""Indexes: vectors, the dual dense index, Lucene, and the catalog that hydrates hits."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from codeintel_core import schemas
from codeintel_core.analysis import ANALYSIS_VERSION
from codeintel_core.embedding.text import TEXT_VERSION
from codeintel_pipelines.build import index, parts, sparse, vectors
from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot, check_specs, column_schema, materialize

_OWNERS = ["team:code-intelligence"]


@dg.asset(
    partitions_def=repositories,
    group_name="index",
    owners=_OWNERS,
    check_specs=check_specs("embeddings"),
    deps=["chunks"],
    kinds={"onnx", "parquet"},
    pool="embedding",  # unlimited unless the instance says otherwise (deploy/dagster.postgres.yaml)
    code_version=str(TEXT_VERSION),
    description="Vector of every chunk under the embedding contract; known texts come from the vector cache.",
)
def embeddings(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write embeddings.parquet."""

    def stage(build: Build) -> dict[str, Any]:
        cost = vectors.embed(build)
        return {
            **asdict(cost),
            "batch_tokens": build.settings.embedding_batch_tokens,
            "dagster/row_count": cost.vectors,
            "dagster/column_schema": column_schema(schemas.embeddings(build.contract.dimension)),
            "contract": asdict(build.contract),
            "contract_id": build.contract.contract_id,
            "reuse": bar_plot({"from cache": cost.reused, "computed": cost.computed}),
            "size_bytes": parts.size_bytes(build.folder / "embeddings.parquet"),
        }

    return materialize(context, home, "embeddings", "build.embeddings", stage)


@dg.asset(
    partitions_def=repositories,
    group_name="index",
    owners=_OWNERS,
    deps=["embeddings"],
    kinds={"faiss"},
    description="Trained, immutable primary: kind chosen by size and measured recall, linked while changes are few.",
)
def faiss_primary(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write dense/primary.faiss."""

    def stage(build: Build) -> dict[str, Any]:
        facts = index.build_primary(build)
        build.keep_facts("faiss_primary", facts)
        size = (build.folder / "dense" / "primary.faiss").stat().st_size
        return {**{k: v for k, v in facts.items() if isinstance(v, str | float | int)}, "parameters": facts,
                "size_bytes": size}  # fmt: skip

    return materialize(context, home, "faiss_primary", "build.dense", stage)


@dg.asset(
    partitions_def=repositories,
    group_name="index",
    owners=_OWNERS,
    check_specs=check_specs("faiss_secondary"),
    deps=["faiss_primary"],
    kinds={"faiss"},
    description="Flat secondary of what the primary lacks, and tombstones of what it has too much.",
)
def faiss_secondary(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write dense/secondary.faiss and dense/tombstones.parquet."""

    def stage(build: Build) -> dict[str, Any]:
        counts = index.build_secondary(build)
        build.keep_facts("faiss_secondary", counts)
        return {**counts, "shares": bar_plot(counts)}

    return materialize(context, home, "faiss_secondary", "build.dense", stage)


@dg.asset(
    partitions_def=repositories,
    group_name="index",
    owners=_OWNERS,
    check_specs=check_specs("lucene_index"),
    deps=["chunks"],
    kinds={"lucene"},
    code_version=str(ANALYSIS_VERSION),
    description="BM25 over code-aware terms; the parent's segments plus deletions and additions.",
)
def lucene_index(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write lucene/."""

    def stage(build: Build) -> dict[str, Any]:
        counts = index.build_lucene(build)
        build.keep_facts("lucene_index", counts)
        size = sum(path.stat().st_size for path in (build.folder / "lucene").iterdir())
        return {**counts, "dagster/row_count": counts["documents"], "size_bytes": size}

    return materialize(context, home, "lucene_index", "build.lexical", stage)


@dg.asset(
    partitions_def=repositories,
    group_name="index",
    owners=_OWNERS,
    check_specs=check_specs("splade_index"),
    deps=["chunks"],
    kinds={"onnx", "lucene"},
    code_version=str(TEXT_VERSION),
    description="Learned sparse vectors (SPLADE) and the impact index over them; empty without a sparse model.",
)
def splade_index(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write sparse/, or say why there is none: `not_configured`, `pending` or what failed."""

    def stage(build: Build) -> dict[str, Any]:
        facts = sparse.build_sparse(build)
        build.keep_facts("splade_index", facts)
        return sparse.as_metadata(facts)

    return materialize(context, home, "splade_index", "build.sparse", stage)


@dg.asset(
    partitions_def=repositories,
    group_name="index",
    owners=_OWNERS,
    check_specs=check_specs("catalog"),
    deps=["chunks", "symbols"],
    kinds={"duckdb"},
    description="catalog.duckdb: files by path, symbols by name, scopes; catalog.arrow: chunks by id.",
)
def catalog(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write the catalog, or overlays for the parent's."""

    def stage(build: Build) -> dict[str, Any]:
        facts = index.build_catalog(build)
        build.keep_facts("catalog", facts)
        return facts

    return materialize(context, home, "catalog", "build.catalog", stage)
