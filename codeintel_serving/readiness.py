"""Readiness: what works, what is degraded and why. Looks at what is open and opens nothing, but a first generation when
there is none; repositories that are not open yet are counted, not checked. The only waits are for what is configured
outside of this process: model endpoints, which are asked a real question (see `probes`), Redis, the vector engine.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import UTC, datetime
from typing import Literal

from codeintel_core.deadline import Deadline
from codeintel_core.errors import CodeIntelError, DeadlineExceeded, VectorEngineUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.telemetry import metrics
from codeintel_serving.display import without_server_paths
from codeintel_serving.models import Check, Readiness
from codeintel_serving.services import Services

State = Literal["ready", "degraded", "draining", "down"]
_OK = Check(status="ok", reason="")
_MIN_FREE_BYTES = 1 << 30
_KEPT_S = 1.0
_BOUND_S = 3.0
_MOST_REASONS = 5
_ENGINE_S = 1.0


def readiness(services: Services) -> Readiness:
    """State of the server now: down when no generation serves, no channel works or no key can be checked."""
    checks = {"home": _home(services), "disk": _disk(services), "keys": _check("down", services.keys.problem)}
    if services.scopes.backend is not None:
        checks["redis"] = _check("degraded", services.scopes.backend.ping())
    if services.replica is not None:
        checks["bucket"] = _check("degraded", services.replica.problem)
    if services.handover is not None:
        checks["traces"] = _check("degraded", services.handover.standing().reason(datetime.now(UTC)))
    library = services.library
    try:
        if not library.serving():  # as before the first request: look whether anything can serve
            with library.pin_in_time((), "", Deadline.after(0)):
                pass
        generations = library.serving()
        checks |= {
            "generations": _check("degraded", _joined(library.problems())),
            "encoder": _check("down", _not_loaded(services)),
            "contract": _contract(services, generations),
            "catalogs": _catalogs(generations),
            "jvm": _jvm(generations),
            **_sparse(services, generations),
            "dense_device": _dense_device(generations),
            **_vector_engine(services, generations),
        }
    except CodeIntelError as error:
        checks["generations"] = _check("down", str(error))
    checks["tuning"] = _check("degraded", services.engine.tuning().problem)
    checks |= {f"{role}_model": _check("degraded", why) for role, why in services.probes.problems().items()}
    return Readiness(
        state="draining" if services.is_draining else _state(checks),
        checks=checks,
        repositories=len(services.home.repository_names()),
        open=library.open_set.count,
        verified=library.open_set.verified,
    )


class Board:
    """Readiness for health checks that come often: kept for a second, waited for at most three, with a history."""

    def __init__(self, examine: Callable[[], Readiness], clock: Callable[[], float] = time.monotonic) -> None:
        self._examine, self._clock = examine, clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="readiness")
        self._lock = threading.Lock()
        self._running: Future[Readiness] | None = None
        self._known: Readiness | None = None
        self._known_at_s = 0.0
        self._since: dict[str, tuple[str, str]] = {}  # check -> its status, and since when

    def state(self) -> Readiness:
        """The state and every check, each with the time since when it has its status."""
        with self._lock:
            if self._known is not None and self._clock() < self._known_at_s + _KEPT_S:
                return self._known
            if self._running is None:
                self._running = self._pool.submit(self._examine)
            running = self._running
        try:
            found = running.result(_BOUND_S)
        except FutureTimeout:
            found = self._unfinished()
        with self._lock:
            if running.done() and self._running is running:
                self._running = None
            self._known, self._known_at_s = self._dated(found), self._clock()
            return self._known

    def close(self) -> None:
        """Stop looking."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _unfinished(self) -> Readiness:
        """What was known before, and that no more is known now."""
        late = _check("degraded" if self._known else "down", f"the checks take longer than {_BOUND_S:g} s")
        checks = {**(self._known.checks if self._known else {}), "checks": late}
        known = self._known or Readiness(state="down", checks={})
        return known.model_copy(update={"state": _state(checks), "checks": checks})

    def _dated(self, found: Readiness) -> Readiness:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        before = self._since
        self._since = {
            name: before[name] if before.get(name, ("",))[0] == check.status else (check.status, now)
            for name, check in found.checks.items()
        }
        for known in ("ready", "degraded", "draining", "down"):
            metrics.READY_STATE.labels(known).set(found.state == known)
        dated = {name: check.model_copy(update={"since": self._since[name][1]}) for name, check in found.checks.items()}
        return found.model_copy(update={"checks": dated})


def _state(checks: dict[str, Check]) -> State:
    down = {name for name, check in checks.items() if check.status == "down"}
    if down & {"generations", "home", "keys", "checks"} or {"encoder", "jvm"} <= down or {"contract", "jvm"} <= down:
        return "down"
    return "ready" if all(check.status == "ok" for check in checks.values()) else "degraded"


def _home(services: Services) -> Check:
    root = services.home.root
    if not os.access(root, os.R_OK | os.X_OK):
        return _check("down", "the home folder is missing or cannot be read")
    if not os.access(root, os.W_OK):
        return _check("degraded", "the home folder is read-only: traces, ledgers and leases are not written")
    return _OK


def _disk(services: Services) -> Check:
    try:
        free = shutil.disk_usage(services.home.root).free
    except OSError as error:
        return _check("degraded", f"the disk cannot be asked: {error.strerror}")
    few = f"{free / (1 << 30):.2f} GiB free; traces are dropped when the disk is full"
    return _check("degraded", few if free < _MIN_FREE_BYTES else "")


def _not_loaded(services: Services) -> str:
    return "" if services.encoder.loaded else services.encoder.problem or "the encoder is not loaded yet"


def _contract(services: Services, generations: list[Generation]) -> Check:
    """One contract from the endpoint that encodes queries over the manifests to the vectors in the indexes."""
    encoder, problems = services.encoder.loaded, []
    for generation in generations:
        manifest = generation.manifest
        try:
            if encoder is not None:
                encoder.contract.require_same(manifest.contract, f"generation {manifest.gen_id}")
            if generation.dense.primary.dimension != manifest.contract.dimension:
                problems.append(
                    f"generation {manifest.gen_id}: the dense index has another dimension than its contract"
                )
        except CodeIntelError as error:
            problems.append(str(error))
    return _check("down" if len(problems) == len(generations) else "degraded", _joined(problems))


def _catalogs(generations: list[Generation]) -> Check:
    return _check("degraded", _joined([generation.catalog.problem() for generation in generations]))


def _jvm(generations: list[Generation]) -> Check:
    problems = [generation.lexical_error for generation in generations if generation.lexical is None]
    return _check("down" if len(problems) == len(generations) else "degraded", _joined(problems))


def _sparse(services: Services, generations: list[Generation]) -> dict[str, Check]:
    """The sparse channel, when it is configured: its model, and an index of it in every generation."""
    if services.sparse is None:
        return {}
    encoder = services.sparse.loaded
    if encoder is None:
        return {"sparse": _check("degraded", services.sparse.problem or "the sparse encoder is not loaded yet")}
    missing = [
        f"generation {generation.manifest.gen_id} has no sparse index of this model; build it again"
        for generation in generations
        if generation.sparse is None or not generation.manifest.sparse.is_of(encoder.contract)
    ]
    return {"sparse": _check("degraded", "; ".join(missing))}


def _dense_device(generations: list[Generation]) -> Check:
    return _check("degraded", _joined(sorted({generation.dense.primary.device.reason for generation in generations})))


def _vector_engine(services: Services, generations: list[Generation]) -> dict[str, Check]:
    """The external vector engine, when one is configured: that it answers, and holds every generation."""
    engine = services.vector_engine
    if engine is None:
        return {}
    try:
        engine.ping(_ENGINE_S)
    except (VectorEngineUnavailable, DeadlineExceeded) as error:
        return {"vector_engine": _check("degraded", f"{error}; local indexes answer")}
    problems = [services.vector_engine_problem(generation.manifest) for generation in generations]
    return {"vector_engine": _check("degraded", _joined(problems))}


def _joined(problems: list[str]) -> str:
    found = list(dict.fromkeys(filter(None, problems)))
    more = f" and {len(found) - _MOST_REASONS} more" if len(found) > _MOST_REASONS else ""
    return "; ".join(found[:_MOST_REASONS]) + more


def _check(status: Literal["degraded", "down"], reason: str) -> Check:
    return Check(status=status, reason=without_server_paths(reason)) if reason else _OK
