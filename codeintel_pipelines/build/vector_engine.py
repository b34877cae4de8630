"""Publishing a staged generation into the external vector engine, before anything points at it.

The files stay the truth: an engine that does not answer stops no build. The generation then says why it is not there,
and the next build of the same commit, once the engine answers, publishes one that is.
"""

from __future__ import annotations

from contextlib import closing, suppress

import numpy as np
import pyarrow as pa

from codeintel_core.errors import VectorEngineUnavailable
from codeintel_core.generations.manifest import EngineFacts, Manifest
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, step
from codeintel_core.vector_engine import rows
from codeintel_core.vector_engine.protocol import Change, Keys, Pin, State
from codeintel_core.vector_engine.select import engine_for
from codeintel_pipelines.build import parts
from codeintel_pipelines.build.plan import Build

_TABLE = "embeddings.parquet"
_NO_KEYS: Keys = np.empty(0, np.int64)


def publish(build: Build, manifest: Manifest) -> Manifest:
    """The manifest with what the engine holds of the generation; as it is when there is no engine."""
    engine = engine_for(build.settings)
    if engine is None:
        return manifest
    with step("build.vector_engine", repo=build.plan.repo) as current, closing(engine):
        change, state = _change(build)
        current.set(rows=state.count, incremental=change is not None)
        pin = Pin(manifest.repo, manifest.gen_id, manifest.contract, state)
        try:
            done = engine.publish(pin, manifest.parent, change, lambda: rows.parts(build.folder, vectors=True))
        except VectorEngineUnavailable as error:
            current.end(Status.FAILED, str(error), error.detail)
            return manifest.model_copy(update={"vector_engine": EngineFacts(reason=str(error))})
        current.set(added=done.added, removed=done.removed)
    facts = EngineFacts(count=state.count, digest=state.digest, reason="")
    return manifest.model_copy(update={"vector_engine": facts})


def withdraw(settings: Settings, manifest: Manifest) -> None:
    """Take a generation that was not published after all out of the engine; if that fails, garbage collection does."""
    engine = engine_for(settings)
    if engine is not None and manifest.vector_engine.is_there:
        with closing(engine), suppress(VectorEngineUnavailable):
            engine.delete(manifest.repo, [manifest.gen_id])


def _change(build: Build) -> tuple[Change | None, State]:
    """How the staged vectors differ from the parent's, None when that is not known, and the state of all of them."""
    parent = build.parent_manifest
    if build.parent_folder is None or parent is None or not parent.vector_engine.is_there:
        keys = [part["key"].to_numpy() for part in rows.parts(build.folder, vectors=False)]
        return None, State.of(np.concatenate(keys) if keys else _NO_KEYS)
    now, before = parts.replaced(build.folder / _TABLE, build.parent_folder / _TABLE)
    old = [part["key"].to_numpy() for part in rows.parts(build.parent_folder, [p.name for p in before], vectors=False)]
    old_keys = np.concatenate([_NO_KEYS, *old])
    new_keys, added = [_NO_KEYS], []
    for part in rows.parts(build.folder, [path.name for path in now], vectors=True):
        new_keys.append(part["key"].to_numpy())
        added.append(part.filter(pa.array(~np.isin(new_keys[-1], old_keys))))
    change = Change(tuple(added), np.setdiff1d(old_keys, np.concatenate(new_keys)))
    state = State(parent.vector_engine.count, parent.vector_engine.digest)
    return change, state.changed(change.added_keys, change.removed)
