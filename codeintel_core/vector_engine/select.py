"""The vector engine of the settings."""

from __future__ import annotations

from contextlib import closing

from codeintel_core.errors import VectorEngineUnavailable
from codeintel_core.settings import Settings
from codeintel_core.vector_engine.protocol import VectorEngine


def engine_for(settings: Settings) -> VectorEngine | None:
    """The engine that `vector_engine` names, None when it is not set; nothing is connected, or looked for, yet."""
    if settings.vector_engine is None:
        return None
    from codeintel_core.vector_engine.postgresql import PostgresEngine

    return PostgresEngine(
        settings.vector_engine.get_secret_value(), exact_max=settings.dense_flat_max, workers=settings.channel_workers
    )


def require_driver(settings: Settings) -> None:
    """Raise `VectorEngineUnavailable`, with the command that installs it, when the engine that is set has no driver."""
    if settings.vector_engine is not None:
        from codeintel_core.vector_engine import connections

        connections.require_driver()


def lacks(settings: Settings, repo: str, gen_id: str) -> bool:
    """Whether there is an engine that answers and does not hold a generation."""
    engine = engine_for(settings)
    if engine is None:
        return False
    with closing(engine):
        try:
            return gen_id not in engine.kept(repo)
        except VectorEngineUnavailable:
            return False  # nothing can be added now
