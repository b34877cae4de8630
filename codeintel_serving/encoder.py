"""The query encoders, loaded on first use; a failure is remembered for readiness and tried again two seconds later."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from codeintel_core.embedding.contract import Encoder
from codeintel_core.embedding.sparse.contract import SparseEncoder
from codeintel_core.errors import CodeIntelError, ModelUnavailable
from codeintel_core.settings import Settings

_RETRY_S = 2.0  # queries wait for the attempt of another, so one that fails slowly is not made by each


_E = TypeVar("_E")


class LazyEncoder(Generic[_E]):
    """Callable that gives the encoder, dense or sparse.

    Attributes:
        problem: why the last attempt to load failed, '' otherwise.
    """

    def __init__(self, load: Callable[[], _E]) -> None:
        self._load = load
        self._encoder: _E | None = None
        self._lock = threading.Lock()
        self._retry_at_s = 0.0
        self.problem = ""

    def __call__(self) -> _E:
        """The encoder; raises `ModelUnavailable` or `StorageFailed` naming the fix."""
        with self._lock:
            if self._encoder is None:
                if time.monotonic() < self._retry_at_s:
                    raise ModelUnavailable(self.problem)
                try:
                    self._encoder = self._load()
                except CodeIntelError as error:
                    self.problem = str(error)
                    self._retry_at_s = time.monotonic() + _RETRY_S
                    raise
                self.problem = ""
            return self._encoder

    @property
    def loaded(self) -> _E | None:
        """The encoder if it is loaded; never waits for it."""
        return self._encoder


def query_encoder(settings: Settings) -> Encoder:
    """The encoder that the settings name; one thread per query, since queries come side by side."""
    from codeintel_core.embedding.select import encoder_for

    return encoder_for(settings, threads=1)


def sparse_query_encoder(settings: Settings) -> SparseEncoder:
    """The sparse encoder that the settings name; they name one."""
    from codeintel_core.embedding.sparse.select import sparse_encoder_for

    encoder = sparse_encoder_for(settings, threads=1)
    if encoder is None:
        raise ModelUnavailable("no sparse model is configured")
    return encoder
