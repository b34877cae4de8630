"""Sources: the head commit of every registered repository, observed without fetching."""

import dagster as dg

from codeintel_core.repository import mirror
from codeintel_pipelines.partitions import repositories
from codeintel_pipelines.resources import HomeResource


@dg.observable_source_asset(
    partitions_def=repositories,
    group_name="sources",
    description="Head commit of the followed branch as last fetched into the mirror; its data version is the commit.",
)
def repository_head(home: HomeResource) -> dg.DataVersionsByPartition:
    """Data version per repository."""
    names = home.home.repository_names()
    return dg.DataVersionsByPartition({name: dg.DataVersion(mirror.head(home.home, name)) for name in names})
