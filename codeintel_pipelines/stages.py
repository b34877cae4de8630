"""How a plain stage becomes a materialisation: one step in the ledger, its facts as Dagster metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pyarrow as pa

from codeintel_core import telemetry
from codeintel_core.errors import CodeIntelError
from codeintel_pipelines.build import plan as plans
from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.verify import CHECKS, Verdict
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource

SKIPPED_TAG = "codeintel/skipped"
SKIPPED_AS_TAG = "codeintel/skipped-as"
_BAR_WIDTH = 32


def plan_config(**options: bool | str) -> dict[str, Any]:
    """Run config of the jobs that plan a build: `force`, `compact` or `embed`."""
    return {"ops": {"source_files": {"config": options}}}


def is_finished(context: dg.AssetExecutionContext) -> Callable[[str], bool]:
    """Whether a Dagster run of this instance is over (or unknown to it)."""

    def check(run_id: str) -> bool:
        run = context.instance.get_run_by_id(run_id)
        return run is None or run.is_finished

    return check


def staged_build(context: dg.AssetExecutionContext, home: HomeResource) -> Build:
    """The build this run works on."""
    return plans.resume(home.home, home.settings, partition_of(context), context.run.run_id, is_finished(context))


def partition_of(context: dg.AssetExecutionContext) -> str:
    """Name of the repository."""
    return str(context.partition_key)


@contextmanager
def recorded(context: dg.AssetExecutionContext, home: HomeResource, kind: str) -> Iterator[telemetry.Step]:
    """Record a block as a step of the Dagster run, in the same ledger that serving writes."""
    with telemetry.run("build", home.home.ledger, run_id=context.run.run_id), telemetry.step(kind) as step:
        step.set(repo=partition_of(context))
        yield step


def skip_run(context: dg.AssetExecutionContext, reason: CodeIntelError) -> None:
    """Say why this run stops here without a failure: in its log and its tags; the caller yields nothing."""
    context.log.warning(f"skipped: {reason}")
    context.instance.add_run_tags(context.run.run_id, {SKIPPED_TAG: str(reason), SKIPPED_AS_TAG: reason.slug})


def check_specs(asset: str) -> list[dg.AssetCheckSpec]:
    """The checks of a staged asset: an invariant that does not hold stops the run, what is served stays.

    They are run by the asset: a step each would double the steps of a run, and read the plan and the parent again.
    """
    return [
        dg.AssetCheckSpec(
            verdict_of.__name__, asset=asset, description=verdict_of.__doc__, blocking=True, partitions_def=repositories
        )
        for verdict_of in CHECKS[asset]
    ]


def materialize(
    context: dg.AssetExecutionContext,
    home: HomeResource,
    asset: str,
    kind: str,
    stage: Callable[[Build], Mapping[str, Any]],
) -> dg.MaterializeResult:
    """Run a stage on the staged build, then its checks; an up-to-date build keeps what the served generation has."""
    build = staged_build(context, home)
    if build.plan.up_to_date:  # its digests were compared when the build was planned
        kept = {"kept_from_generation": build.plan.parent or ""}
        return dg.MaterializeResult(asset, metadata=kept, check_results=_checked(asset, lambda _: Verdict(True, kept)))
    with recorded(context, home, kind) as step:
        metadata = dict(stage(build))
        step.set(**{name: value for name, value in metadata.items() if isinstance(value, int | float | str)})
        if reason := metadata.get("skipped"):
            step.skip(str(reason))
    return dg.MaterializeResult(
        asset,
        metadata=metadata,
        check_results=_checked(asset, lambda verdict_of: verdict_of(build)),
        data_version=dg.DataVersion(build.plan.commit),
    )


def _checked(asset: str, ask: Callable[[Callable[[Build], Verdict]], Verdict]) -> list[dg.AssetCheckResult]:
    """Results of the checks of an asset."""
    verdicts = {verdict_of.__name__: ask(verdict_of) for verdict_of in CHECKS.get(asset, ())}
    return [
        dg.AssetCheckResult(check_name=name, passed=verdict.passed, metadata=verdict.facts)
        for name, verdict in verdicts.items()
    ]


def column_schema(schema: pa.Schema) -> dg.TableSchema:
    """Column schema of an Arrow table, with our documentation of each column."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(field.name, str(field.type), (field.metadata or {}).get(b"doc", b"").decode())
            for field in schema
        ]
    )


def bar_plot(counts: Mapping[str, int | float]) -> dg.MarkdownMetadataValue:
    """A small horizontal bar plot."""
    top = max(counts.values(), default=0) or 1
    width = max((len(name or "(none)") for name in counts), default=0)
    bars = [
        f"{name or '(none)':<{width}}  {'█' * max(1, round(_BAR_WIDTH * value / top))} {value:g}"
        for name, value in counts.items()
    ]
    return dg.MetadataValue.md("```\n" + "\n".join(bars) + "\n```")
