"""Checks of the state of the whole home; those of an asset stand beside it."""

import dagster as dg

from codeintel_pipelines.groups import freshness
from codeintel_pipelines.resources import HomeResource


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
