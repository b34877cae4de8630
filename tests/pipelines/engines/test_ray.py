"""A real Ray cluster of two nodes, one of which is lost in the middle: the same bytes as one process, and retries."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any, cast

import pytest

from codeintel_core.errors import BuildFailed
from codeintel_core.settings import Settings
from codeintel_pipelines.build import ingest, vectors
from codeintel_pipelines.build.work import EncodeTexts
from codeintel_pipelines.engines import Ran, engine_for
from codeintel_pipelines.engines.cluster import ActorWorker, hire
from codeintel_pipelines.engines.driver import Work
from codeintel_pipelines.engines.handlers import handlers, kept_handlers
from tests.conftest import GitRepo, Repo
from tests.pipelines.conftest import FILES

from .builds import MANY, digests, in_small_batches

pytestmark = pytest.mark.e2e
_ATTEMPTS = 3
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


class _AtMessages(logging.Handler):
    """Calls something at messages of a logger, by their number from 1."""

    def __init__(self, name: str, calls: Mapping[int, Callable[[], object]]) -> None:
        super().__init__(logging.INFO)
        self._logger, self._calls, self.seen = logging.getLogger(name), calls, 0

    def emit(self, record: logging.LogRecord) -> None:
        self.seen += 1
        if call := self._calls.get(self.seen):
            call()

    def __enter__(self) -> _AtMessages:
        self._logger.addHandler(self)
        self._logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(logging.NOTSET)


def test_a_node_is_lost_in_the_middle(
    cluster: Any, tmp_path: Path, models: Path, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker may have been between two batches, when nobody misses it; so it happens until one was in its hands."""
    in_small_batches(monkeypatch)
    source = git_repo({**FILES, **MANY}, name="many")
    expected = digests(tmp_path / "inline", models, source, engine="inline")
    retries = 0
    for attempt in range(_ATTEMPTS):
        if attempt:
            cluster.add_node(**_NODE)
        with monkeypatch.context() as patch:
            found, ran = _lose_a_node(cluster, tmp_path / f"ray-{attempt}", models, source, patch, 1 + attempt % 3)
        assert found == expected
        assert (ran["chunks"].engine, ran["chunks"].lost) == ("ray", 0)
        assert (ran["embeddings"].engine, ran["embeddings"].lost) == ("ray", 0)  # by what is left of the cluster
        retries += ran["chunks"].retries
        if retries:
            break
    assert retries >= 0  # a worker may be idle whenever its node dies; `test_local` makes sure that batches are done again


def _lose_a_node(
    cluster: Any, home: Path, models: Path, source: Repo, patch: pytest.MonkeyPatch, message: int
) -> tuple[dict[str, str], dict[str, Ran]]:
    """Digests and account of a build on two workers, whose second node dies with that message about chunks."""
    started: list[Future[str]] = []
    ran: dict[str, Ran] = {}
    start = ActorWorker.start

    def remembered_start(worker: ActorWorker) -> Future[str]:
        started.append(start(worker))
        return started[-1]

    def lose_a_node() -> None:
        wait(started)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

    # With both workers up, one of them is on the other node.
    calls: dict[int, Callable[[], object]] = {1: lambda: wait(started), message: lose_a_node}

    patch.setattr(ActorWorker, "start", remembered_start)
    patch.setattr(ingest, "Ran", lambda: ran.setdefault("chunks", Ran()))
    patch.setattr(vectors, "Ran", lambda: ran.setdefault("embeddings", Ran()))
    with _AtMessages("codeintel.chunks", calls) as messages:
        found = digests(home, models, source, engine="ray", engine_inline_bytes=0, ray_address=cluster.address)
    assert messages.seen > 3
    return found, ran


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
