"""A real Ray cluster of two nodes, one of which is lost in the middle: the same bytes as one process, and retries."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from codeintel_core.errors import BuildFailed
from codeintel_core.settings import Settings
from codeintel_pipelines.build import ingest, vectors
from codeintel_pipelines.build.work import EncodeTexts
from codeintel_pipelines.engines import Ran, engine_for
from codeintel_pipelines.engines.cluster import ActorWorker, hire
from codeintel_pipelines.engines.driver import Tables, Work
from codeintel_pipelines.engines.handlers import handlers, kept_handlers
from tests.conftest import GitRepo
from tests.pipelines.conftest import FILES

from .builds import MANY, digests, in_small_batches

pytestmark = pytest.mark.e2e
_PATIENCE_S = 120.0
_NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1", "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import ray
    from ray._private import ray_constants
    from ray.cluster_utils import Cluster

    # In /tmp: the paths of its sockets must be short.
    scratch = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
    with scratch as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)
        # Everything stays on the loopback: Ray would turn its address into one of a network card.
        patch.setenv(ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        running = Cluster(initialize_head=True, head_node_args=_NODE)
        running.add_node(**_NODE)
        try:
            yield running
        finally:
            with kept_handlers():
                ray.shutdown()
            running.shutdown()


def test_a_node_is_lost_in_the_middle(
    cluster: Any, tmp_path: Path, models: Path, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_small_batches(monkeypatch)
    source = git_repo({**FILES, **MANY}, name="many")
    expected = digests(tmp_path / "inline", models, source, engine="inline")
    chunked, embedded, taken = Ran(), Ran(), tmp_path / "taken"
    monkeypatch.setattr(ingest, "Ran", lambda: chunked)  # a build without Dagster keeps no ledger to read them from
    monkeypatch.setattr(vectors, "Ran", lambda: embedded)  # likewise
    (node,) = cluster.worker_nodes
    init = ActorWorker.__init__
    held = lambda self, work, cpus: init(self, _held(work, node.node_id, taken), cpus)  # noqa: E731
    monkeypatch.setattr(ActorWorker, "__init__", held)  # batches take milliseconds: a worker would be idle as it dies
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(_lose_when_taken, cluster, node, taken)
        found = digests(
            tmp_path / "ray", models, source, engine="ray", engine_inline_bytes=0, ray_address=cluster.address
        )
        lost.result()
    assert found == expected
    assert (chunked.engine, chunked.retries, chunked.lost) == ("ray", 2, 0)  # both files of the batch, each alone
    assert (embedded.engine, embedded.retries, embedded.lost) == ("ray", 0, 0)  # by what is left of the cluster


def _held(work: Work[Any], node_id: str, taken: Path) -> Callable[[Sequence[Any]], Tables]:
    """The work, but the first batch on that node is never done, and no other before somebody has that one in hand."""

    def held(batch: Sequence[Any]) -> Tables:
        import ray

        until = time.monotonic() + _PATIENCE_S
        while not taken.exists() and time.monotonic() < until:
            if ray.get_runtime_context().get_node_id() == node_id:
                taken.touch()
                time.sleep(_PATIENCE_S)  # until its node is gone
            time.sleep(0.01)  # a worker learns of another one by nothing but the file
        return work(batch)

    return held


def _lose_when_taken(cluster: Any, node: Any, taken: Path) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not taken.exists():
        assert time.monotonic() < until, "no batch came to the node"
        time.sleep(0.01)  # as above
    cluster.remove_node(node, allow_graceful=False)


def test_the_handlers_that_a_jvm_needs_stay(cluster: Any) -> None:
    import ray

    with kept_handlers():
        ray.shutdown()
    before = _addresses()
    (worker,) = hire(cast("Work[Any]", None), cluster.address, 1, 1)
    assert ray.is_initialized()
    worker.close()
    assert _addresses() == before


def _addresses() -> dict[int, bytes]:
    """Of the handlers' functions: what is behind them in the struct is not all defined."""
    return {number: action[:8] for number, action in handlers().items()}


def test_no_cluster_at_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)  # the cluster of other tests may be connected
    engine = engine_for(Settings(engine="ray", ray_address="127.0.0.1:1"), size=1, worth=0)
    with pytest.raises(BuildFailed, match="CODEINTEL_RAY_ADDRESS"):
        list(engine.run(EncodeTexts, [["a"]], Ran()))  # type: ignore[arg-type]


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = engine_for(Settings(engine="ray"), size=1, worth=0)
    with pytest.raises(BuildFailed, match=r"pip install 'codeintel\[ray\]'"):
        list(engine.run(EncodeTexts, [["a"]], Ran()))  # type: ignore[arg-type]
