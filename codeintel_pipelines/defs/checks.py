"""Blocking checks: an invariant that does not hold stops the run, and the previous generation keeps serving."""

from collections.abc import Callable

import dagster as dg

from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.verify import CHECKS, Verdict
from codeintel_pipelines.groups import freshness
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource
from codeintel_pipelines.stages import staged_build


def _check(asset: str, verdict_of: Callable[[Build], Verdict]) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name=verdict_of.__name__,
        description=verdict_of.__doc__,
        blocking=True,
        partitions_def=repositories,
    )
    def check(context: dg.AssetCheckExecutionContext, home: HomeResource) -> dg.AssetCheckResult:
        build = staged_build(context, home)
        if build.plan.up_to_date:  # its digests were compared when the build was planned
            return dg.AssetCheckResult(passed=True, metadata={"kept_from_generation": build.plan.parent or ""})
        verdict = verdict_of(build)
        return dg.AssetCheckResult(passed=verdict.passed, metadata=verdict.facts)

    return check


@dg.asset_check(
    asset="generation",
    name="group_is_fresh",
    description="Every repository is no further behind its source than its group allows; never blocks a build.",
)
def group_is_fresh(home: HomeResource) -> dg.AssetCheckResult:
    """Lag of every repository against the target of its group."""
    found = freshness(home.home)
    late = {f.repo: f"{f.minutes} of {f.allowed:g} minutes ({f.group or 'no group'})" for f in found if not f.is_kept}
    return dg.AssetCheckResult(
        passed=not late, severity=dg.AssetCheckSeverity.WARN, metadata={"repositories": len(found), "late": late}
    )


checks = [_check(asset, verdict_of) for asset, verdicts in CHECKS.items() for verdict_of in verdicts]
