"""One build without Dagster: the stage functions that the assets call, in the assets' order, with the same checks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from codeintel_core.errors import BuildFailed
from codeintel_core.generations import manifest as manifests
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_pipelines.build import index, sparse, vectors, verify
from codeintel_pipelines.build import plan as plans
from codeintel_pipelines.build.ingest import ingest
from codeintel_pipelines.build.plan import Build
from codeintel_pipelines.build.release import release


@dataclass
class Cost:
    """What one build took: seconds of each stage, CPU seconds of the process, texts embedded and texts reused."""

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    computed: int = 0
    reused: int = 0

    @property
    def total_s(self) -> float:
        """Seconds of all stages."""
        return sum(self.seconds.values())

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Add the seconds of the block to a stage."""
        started, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.cpu_s += time.process_time() - cpu
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def build(
    home: Home,
    settings: Settings,
    repo: str,
    *,
    force: bool = False,
    compact: bool = False,
    is_finished: Callable[[str], bool] = lambda _: True,
    cost: Cost | None = None,
) -> Manifest:
    """Build and publish the head of a registered repository (or compact what it serves); the manifest served then.

    `is_finished` says of the holder of a lease whether its run is over (by default: yes, whoever it is).
    """
    cost = cost or Cost()
    run_id = str(uuid.uuid4())
    with cost.of("plan"):
        planned = plans.start(home, settings, repo, run_id, is_finished, force=force, compact=compact)
        _ = planned.changes
    if planned.plan.up_to_date and planned.plan.parent:
        plans.finish(planned, run_id)
        return manifests.load(planned.folder)
    with cost.of("chunks"):
        ingest(planned)
        _check(planned, "chunks")
    with cost.of("embeddings"):
        embedded = vectors.embed(planned)
        cost.computed, cost.reused = embedded.computed, embedded.reused
        _check(planned, "embeddings")
    with cost.of("dense"):
        planned.keep_facts("faiss_primary", index.build_primary(planned))
        planned.keep_facts("faiss_secondary", dict(index.build_secondary(planned)))
        _check(planned, "faiss_secondary")
    with cost.of("lucene"):
        planned.keep_facts("lucene_index", dict(index.build_lucene(planned)))
        _check(planned, "lucene_index")
    with cost.of("sparse"):
        planned.keep_facts("splade_index", sparse.build_sparse(planned))
        _check(planned, "splade_index")
    with cost.of("catalog"):
        planned.keep_facts("catalog", dict(index.build_catalog(planned)))
        _check(planned, "catalog")
    with cost.of("publish"):
        released = release(planned, run_id, tuple(verify.CHECKS))
        plans.finish(planned, run_id)
    return released.manifest


def _check(planned: Build, asset: str) -> None:
    for check in verify.CHECKS[asset]:
        verdict = check(planned)
        if not verdict.passed:
            raise BuildFailed(f"{check.__name__} failed: {verdict.facts}")
