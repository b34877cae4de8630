"""Readiness: what works, what is degraded and why. Looks at what is loaded and loads nothing; the only wait
is for configured model endpoints, which are asked a real question (see `probes`).
"""

from __future__ import annotations

from typing import Literal

from codeintel_core.errors import CodeIntelError
from codeintel_core.generations.generation import Generation
from codeintel_core.telemetry import metrics
from codeintel_serving.display import without_server_paths
from codeintel_serving.models import Check, Readiness
from codeintel_serving.services import Services

State = Literal["ready", "degraded", "down"]
_OK = Check(status="ok", reason="")


def readiness(services: Services) -> Readiness:
    """State of the server: down when no generation serves or no channel works, degraded when anything is amiss."""
    try:
        with services.library.pin(()) as generations:
            checks = {
                "generations": _generations(services, generations),
                "encoder": _encoder(services, generations),
                "jvm": _jvm(generations),
                **_sparse(services, generations),
                "dense_device": _dense_device(generations),
            }
        checks |= {f"{role}_model": _check("degraded", why) for role, why in services.probes.problems().items()}
    except CodeIntelError as error:
        checks = {"generations": _check("down", str(error))}
    state = _state(checks)
    for known in ("ready", "degraded", "down"):
        metrics.READY_STATE.labels(known).set(state == known)
    return Readiness(state=state, checks=checks)


def _state(checks: dict[str, Check]) -> State:
    if checks["generations"].status == "down" or {checks["encoder"].status, checks["jvm"].status} == {"down"}:
        return "down"
    return "ready" if all(check.status == "ok" for check in checks.values()) else "degraded"


def _generations(services: Services, generations: list[Generation]) -> Check:
    problems = [services.library.reader(generation.repo).problem for generation in generations]
    return _check("degraded", "; ".join(filter(None, problems)))


def _encoder(services: Services, generations: list[Generation]) -> Check:
    encoder = services.encoder.loaded
    if encoder is None:
        return _check("down", services.encoder.problem or "the encoder is not loaded yet")
    try:
        for generation in generations:
            encoder.contract.require_same(generation.manifest.contract, f"generation {generation.manifest.gen_id}")
    except CodeIntelError as error:
        return _check("down", str(error))
    return _OK


def _jvm(generations: list[Generation]) -> Check:
    problems = [generation.lexical_error for generation in generations if generation.lexical is None]
    return _check("down" if len(problems) == len(generations) else "degraded", "; ".join(problems))


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
    reasons = {generation.dense.primary.device.reason for generation in generations}
    return _check("degraded", "; ".join(sorted(filter(None, reasons))))


def _check(status: Literal["degraded", "down"], reason: str) -> Check:
    return Check(status=status, reason=without_server_paths(reason)) if reason else _OK
