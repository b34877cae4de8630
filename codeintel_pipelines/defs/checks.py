"""Blocking checks: an invariant that does not hold stops the run, and the previous generation keeps serving."""

from collections.abc import Callable

import dagster as dg

from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.verify import CHECKS, Verdict
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
        verdict = verdict_of(staged_build(context, home))
        return dg.AssetCheckResult(passed=verdict.passed, metadata=verdict.facts)

    return check


checks = [_check(asset, verdict_of) for asset, verdicts in CHECKS.items() for verdict_of in verdicts]
