"""Evaluation: golden queries of a repository, and how well its served generation answers them."""

import dagster as dg

from codeintel_core.embedding.select import encoder_for
from codeintel_pipelines.evaluation import golden, own
from codeintel_pipelines.evaluation.harness import HYBRID
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import bar_plot, column_schema, partition_of, recorded


@dg.asset(
    partitions_def=repositories,
    group_name="evaluation",
    deps=["generation"],
    kinds={"parquet"},
    owners=["team:code-intelligence"],
    description="Questions mined from the repository: docstring to definition, commit subject to files.",
)
def golden_queries(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write evaluation/golden.parquet of the repository."""
    with recorded(context, home, "evaluate.golden") as step:
        table = own.mine(home.home, partition_of(context))
        step.set(queries=table.num_rows)
    kinds = table["kind"].to_pylist()
    counts = {kind: kinds.count(kind) for kind in (golden.DOCSTRING, golden.COMMIT)}
    return dg.MaterializeResult(
        metadata={
            "queries": table.num_rows,
            "kinds": bar_plot(counts),
            "dagster/column_schema": column_schema(golden.GOLDEN),
        }
    )


@dg.asset(
    partitions_def=repositories,
    group_name="evaluation",
    deps=[golden_queries],
    kinds={"duckdb", "faiss"},
    owners=["team:code-intelligence"],
    check_specs=[dg.AssetCheckSpec("no_worse_than_served", asset="retrieval_evaluation", blocking=False)],
    description="Recall, MRR and nDCG per channel and fused, with bootstrap intervals, through the real engine.",
)
def retrieval_evaluation(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Append to evaluation/history.jsonl of the repository."""
    repo, settings = partition_of(context), home.settings
    encoder = encoder_for(settings, threads=settings.embedding_threads)
    with recorded(context, home, "evaluate.retrieval") as step:
        done = own.evaluate_served(home.home, repo, encoder, settings)
        step.set(queries=done.queries)
    passed, changes = own.no_worse(home.home.repository(repo).root, done)
    plots = {
        f"ndcg_{kind}": bar_plot({name: round(found["ndcg@10"]["mean"], 3) for name, found in variants.items()})
        for kind, variants in done.results.items()
    }
    trend = {
        f"{row['gen_id']} {kind}": round(found[HYBRID]["ndcg@10"]["mean"], 3)
        for row in own.history(home.home.repository(repo).root)[-10:]
        for kind, found in row["results"].items()
    }
    # Plain numbers: Dagster draws them over all materializations.
    numbers = {f"hybrid_ndcg_{kind}": float(found[HYBRID]["ndcg@10"]["mean"]) for kind, found in done.results.items()}
    return dg.MaterializeResult(
        metadata={"generation": done.gen_id, "queries": done.queries, "results": done.results, **plots, **numbers,
                  "trend": bar_plot(trend)},
        check_results=[
            dg.AssetCheckResult(
                check_name="no_worse_than_served", passed=passed, severity=dg.AssetCheckSeverity.WARN,
                metadata={"changes": changes},
            )
        ],
    )  # fmt: skip
