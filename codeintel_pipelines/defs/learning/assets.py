"""Learning: weights and pairs of files, proposed from judged requests and promoted when later sessions gain."""

from collections.abc import Iterator

import dagster as dg

from codeintel_core import telemetry
from codeintel_core.objects import shared
from codeintel_core.retrieval.cocitation import Pairs
from codeintel_pipelines.analytics import database
from codeintel_pipelines.learning import learn
from codeintel_pipelines.resources import HomeResource

_GROUP = "learning"
_OWNERS = ["team:code-intelligence"]


@dg.asset(
    group_name=_GROUP,
    deps=["answer_traces", "answer_feedback", "golden_queries"],
    kinds={"duckdb", "numpy"},
    owners=_OWNERS,
    check_specs=[
        dg.AssetCheckSpec(
            "helps_later_sessions", asset="tuning_proposal",
            description="Better for sessions it was not made from, whatever part of the clicks rank explains; "
            "golden queries lose nothing.",
        ),
        dg.AssetCheckSpec(
            "pairs_help_later_sessions", asset="tuning_proposal",
            description="Files that were opened together help later sessions beyond what the weights alone give.",
        ),
    ],
    description="Factors of fusion weights by kind of query, and pairs of files, from what people opened and said.",
)  # fmt: skip
def tuning_proposal(context: dg.AssetExecutionContext, home: HomeResource) -> dg.MaterializeResult:
    """Write tuning/proposal.json; that nothing is worth promoting is a warning, not a failure."""
    with (
        telemetry.run("learn", home.home.ledger, run_id=context.run.run_id),
        telemetry.step("learn.weights") as step,
        home.scratch_database() as connection,
    ):
        shared.opened(home.settings, generations=False)  # what counts now is the parent
        database.create_views(connection, home.home, home.settings)
        found = learn.propose(home.home, home.settings, connection)
        step.set(reasons="; ".join(found.reasons), sessions=found.learned_from["test"])
    return dg.MaterializeResult(
        metadata={
            "parent": found.parent or "defaults",
            "factors": found.factors,
            "pairs": Pairs.model_validate(found.pairs).count,
            "learned_from": found.learned_from,
            "numbers": dg.MetadataValue.json(found.numbers),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="helps_later_sessions", passed=not found.reasons, severity=dg.AssetCheckSeverity.WARN,
                metadata={"reasons": found.reasons},
            ),
            dg.AssetCheckResult(
                check_name="pairs_help_later_sessions", passed=not found.pair_reasons,
                severity=dg.AssetCheckSeverity.WARN, metadata={"reasons": found.pair_reasons},
            ),
        ],
    )  # fmt: skip


@dg.asset(
    group_name=_GROUP,
    deps=[tuning_proposal],
    kinds={"json"},
    owners=_OWNERS,
    output_required=False,
    description="The tuning document that counts: an immutable file; only a passing check makes it count.",
)
def tuning(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.Output]:
    """Promote the proposal, or say why it is not."""
    shared.opened(home.settings, generations=False)
    tuning_id, reasons = learn.promote(home.home, home.settings, context.run.run_id)
    if reasons:
        context.log.info(f"nothing is promoted: {'; '.join(reasons)}")
        return
    yield dg.Output(None, metadata={"tuning_id": tuning_id})
