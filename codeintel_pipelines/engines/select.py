"""Which engine a stage runs on, from the settings and the size of its work."""

from __future__ import annotations

import os
from functools import partial

from codeintel_core.settings import Settings
from codeintel_pipelines.engines import cluster, local
from codeintel_pipelines.engines.driver import Engine


def engine_for(settings: Settings, *, size: int, worth: int, cpus: int = 1) -> Engine:
    """The engine of a stage.

    Args:
        settings: `engine`, `engine_workers`, `ray_address`.
        size: of the work, in bytes.
        worth: below this size starting workers takes longer than what they save: it is done in this process.
        cpus: that one worker uses.
    """
    if settings.engine == "inline" or size < worth:
        return Engine()
    if settings.engine == "ray":
        hire = partial(cluster.hire, address=settings.ray_address, count=settings.engine_workers, cpus=cpus)
        return Engine("ray", hire)
    fit = len(os.sched_getaffinity(0)) // cpus
    if not settings.engine_workers and fit < 2:
        return Engine()  # one worker would do what this process does, later
    return Engine("local", partial(local.hire, count=settings.engine_workers or fit))
