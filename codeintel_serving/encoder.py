"""The query encoder, loaded on first use; a failure is remembered for readiness and tried again at the next use."""

from __future__ import annotations

import threading
from collections.abc import Callable

from codeintel_core.embedding.contract import Encoder
from codeintel_core.errors import CodeIntelError
from codeintel_core.settings import Settings


class LazyEncoder:
    """Callable that gives the encoder.

    Attributes:
        problem: why the last attempt to load failed, '' otherwise.
    """

    def __init__(self, load: Callable[[], Encoder]) -> None:
        self._load = load
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()
        self.problem = ""

    def __call__(self) -> Encoder:
        """The encoder; raises `ModelUnavailable` or `StorageFailed` naming the fix."""
        with self._lock:
            if self._encoder is None:
                try:
                    self._encoder = self._load()
                except CodeIntelError as error:
                    self.problem = str(error)
                    raise
                self.problem = ""
            return self._encoder

    @property
    def loaded(self) -> Encoder | None:
        """The encoder if it is loaded; never waits for it."""
        return self._encoder


def query_encoder(settings: Settings) -> Encoder:
    """The encoder that the settings name; one thread per query, since queries come side by side."""
    from codeintel_core.embedding.select import encoder_for

    return encoder_for(settings, threads=1)
