"""Workers as actors of a Ray cluster: Dagster keeps the graph, Ray only does batches.

Every node has CodeIntel installed, in the same version. What comes back are bytes of Arrow streams, copied out of Ray's
object store, which therefore never holds more than what is on its way.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from codeintel_core.errors import BuildFailed
from codeintel_pipelines.engines.driver import VERSIONS, Work, Worker, packed
from codeintel_pipelines.engines.handlers import kept_handlers

_CONNECT_TIMEOUT_S = 10.0


class ActorWorker:
    """An actor that does batches of one work."""

    def __init__(self, work: Work[Any], cpus: int) -> None:
        import ray
        from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError

        self.died: tuple[type[BaseException], ...] = (RayActorError, ObjectLostError, OutOfMemoryError)
        self._ray = ray
        self._work = ray.put(work)
        # Restarts are the driver's, which counts them; SPREAD because one node may be lost at any time.
        self._actors: Any = ray.remote(num_cpus=cpus, max_restarts=0, scheduling_strategy="SPREAD")(_Actor)
        self._actor: Any = None

    def start(self) -> Future[str]:
        """Ask for an actor; it comes up when a node has a CPU for it."""
        self.close()
        self._actor = self._actors.remote(self._work)
        return _future(self._actor.versions.remote())

    def submit(self, batch: Sequence[Any]) -> Future[list[bytes]]:
        """Do a batch."""
        return _future(self._actor.run.remote(batch))

    def close(self) -> None:
        """End the actor."""
        if self._actor is not None:
            self._ray.kill(self._actor)
            self._actor = None


class _Actor:
    """Runs on a node."""

    def __init__(self, work: Work[Any]) -> None:
        self._work = work

    def versions(self) -> str:
        return VERSIONS

    def run(self, batch: Sequence[Any]) -> list[bytes]:
        return packed(self._work, batch)


def hire(work: Work[Any], address: str, count: int, cpus: int) -> list[Worker]:
    """Workers of the cluster, not started yet: `count`, or as many as its CPUs allow when that is 0.

    Raises:
        BuildFailed: Ray is not installed, or no cluster answers at the address.
    """
    try:
        import ray
    except ImportError:
        raise BuildFailed("engine 'ray' needs the extra of that name: pip install 'codeintel[ray]'") from None
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            _require_listener(address)
            with kept_handlers():
                ray.init(address=address, log_to_driver=False, configure_logging=False)
        except (OSError, RuntimeError, ValueError) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise BuildFailed(
                f"no Ray cluster at '{address}' ({said}); start one (`ray start --head`) or set CODEINTEL_RAY_ADDRESS"
            ) from error
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    most = int(resources.get("CPU", 0)) // cpus
    return [ActorWorker(work, cpus) for _ in range(max(1, min(count or most, most)))]


def _require_listener(address: str) -> None:
    """Raise `OSError` when nothing listens at host:port: Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()


def _future(ref: Any) -> Future[Any]:
    """A future that raises what the work raised, not Ray's wrapper of it."""
    from ray.exceptions import RayTaskError

    outer: Future[Any] = Future()

    def settle(inner: Future[Any]) -> None:
        error = inner.exception()
        if error is None:
            outer.set_result(inner.result())
        else:
            outer.set_exception(error.cause if isinstance(error, RayTaskError) and error.cause else error)

    ref.future().add_done_callback(settle)
    return outer
