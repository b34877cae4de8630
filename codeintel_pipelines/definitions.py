"""The code location: loads every definition below `defs/` and binds the resources."""

import warnings

import dagster as dg

from codeintel_pipelines.resources import HomeResource

with warnings.catch_warnings():
    # Observable sources, package loading and partitioned checks are marked beta or preview in the pinned Dagster.
    warnings.simplefilter("ignore", dg.BetaWarning)
    warnings.simplefilter("ignore", dg.PreviewWarning)
    from codeintel_pipelines import defs as definition_modules

    defs = dg.Definitions.merge(
        dg.load_definitions_from_package_module(definition_modules),
        dg.Definitions(resources={"home": HomeResource()}, executor=dg.in_process_executor),
    )
