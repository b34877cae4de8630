"""Vectors in an external engine: asked first, for the generations that it holds, and the local files for the others.

An engine that is late, gone or holds something else costs a share of the time and a line in `limits`, never an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import Counter

from codeintel_core.embedding.contract import EmbeddingContract, Matrix
from codeintel_core.errors import DeadlineExceeded, VectorEngineUnavailable
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.manifest import NOT_CONFIGURED, Manifest
from codeintel_core.retrieval.fusion import Ranked
from codeintel_core.telemetry import Status, metrics, step
from codeintel_core.vector_engine.protocol import Found, Pin, State, VectorEngine

if TYPE_CHECKING:
    from codeintel_core.retrieval.searches import Request

SEARCHES = Counter(
    "codeintel_vector_engine_searches_total", "Searches of the external vector engine by how they ended.",
    ["status"], registry=metrics.REGISTRY,
)  # fmt: skip
_SHARE = 0.6  # of the time left; what it does not answer in, the local files must
_NOTHING: Ranked = (np.empty(0, np.int64), np.empty(0, np.float32))


def pin_of(manifest: Manifest) -> Pin | None:
    """A generation as the engine must know it, None when it was not published there."""
    facts = manifest.vector_engine
    state = State(facts.count, facts.digest)
    return Pin(manifest.repo, manifest.gen_id, manifest.contract, state) if facts.is_there else None


def problem(engine: VectorEngine, manifest: Manifest) -> str:
    """Why the engine is not asked for a generation now, '' when it is."""
    if (pin := pin_of(manifest)) is not None:
        return engine.unverified([pin]).get(pin.gen_id, "")
    return _not_published(manifest)


def lack(engine: VectorEngine, manifest: Manifest) -> str:
    """Why the engine does not hold a generation, '' when it says that it does: its rows are not counted."""
    if pin_of(manifest) is None:
        return _not_published(manifest)
    try:
        is_there = manifest.gen_id in engine.kept(manifest.repo)
    except VectorEngineUnavailable as error:
        return str(error)
    return "" if is_there else f"generation {manifest.gen_id} is not in the vector engine"


def _not_published(manifest: Manifest) -> str:
    why = "a build adds it" if manifest.vector_engine.reason == NOT_CONFIGURED else manifest.vector_engine.reason
    return f"generation {manifest.gen_id} is not in the vector engine: {why}"


def asked(
    engine: VectorEngine | None, request: Request, vector: Matrix, contract: EmbeddingContract
) -> tuple[Ranked, Sequence[Generation]]:
    """What the engine finds, and the generations that it did not answer for."""
    if engine is None:
        return _NOTHING, request.generations
    with step("vector_engine.search", repositories=len(request.generations)) as current:
        pins = [(generation, pin) for generation in request.generations if (pin := pin_of(generation.manifest))]
        of_contract = [(generation, pin) for generation, pin in pins if pin.contract == contract]  # others are refused
        problems = engine.unverified([pin for _, pin in of_contract])
        there = [(generation, pin) for generation, pin in of_contract if pin.gen_id not in problems]
        status, reason, found = Status.COMPLETED, "; ".join(sorted(set(problems.values()))[:3]), None
        if not there:
            status, reason = Status.SKIPPED, reason or "it holds none of these generations"
        else:
            try:
                found = _search(engine, there, request, vector)
            except DeadlineExceeded as error:
                status, reason = Status.TIMED_OUT, str(error)
            except VectorEngineUnavailable as error:
                status, reason = Status.FAILED, str(error)
        SEARCHES.labels(status.value).inc()
        current.set(asked=len(there), elsewhere=len(there) if found else 0)
        if problems or status in (Status.FAILED, Status.TIMED_OUT):
            extent = " for all repositories" if found else ""
            request.notes.append(f"the vector engine was not used{extent} ({reason}): local indexes answered")
        if found is None:
            current.end(status, reason)
            return _NOTHING, request.generations
        current.set(hits=len(found.ids))
        answering = [generation for generation, _ in there]
        for chunk_id, owner in zip(found.ids.tolist(), found.owners.tolist(), strict=True):
            request.owners[chunk_id] = answering[owner]
    ours = {id(generation) for generation in answering}
    return (found.ids, found.scores), [one for one in request.generations if id(one) not in ours]


def _search(engine: VectorEngine, there: Sequence[tuple[Generation, Pin]], request: Request, vector: Matrix) -> Found:
    deadline = request.deadline.within(request.deadline.remaining_s * _SHARE)
    allowed = [generation.catalog.allowed_ids(request.scope) for generation, _ in there]
    known = [ids for ids in allowed if ids is not None]  # all of them, or none when nothing is filtered
    within = np.concatenate(known) if known else None
    return engine.search([pin for _, pin in there], vector, request.depth, request.scope, deadline, within)
