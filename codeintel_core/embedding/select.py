"""Which encoder the settings name: the embedded model, or a remote endpoint. Builds and queries both ask here."""

from __future__ import annotations

import threading

from codeintel_core.embedding.contract import EmbeddingContract, Encoder
from codeintel_core.embedding.local import LocalEncoder, local_contract
from codeintel_core.embedding.remote import RemoteEncoder
from codeintel_core.home import Home
from codeintel_core.models.roles import embed_endpoint
from codeintel_core.settings import Settings

_remote: dict[tuple[object, ...], RemoteEncoder] = {}
_local: dict[tuple[object, ...], LocalEncoder] = {}
_lock = threading.Lock()


def contract_for(settings: Settings) -> EmbeddingContract:
    """The contract that the settings name; a remote one is probed once per process.

    Raises:
        ModelUnavailable, DeadlineExceeded: the model is not installed, or the endpoint does not answer.
    """
    remote = _remote_encoder(settings)
    return remote.contract if remote else local_contract(settings.embedding_precision)


def encoder_for(settings: Settings, *, threads: int = 1) -> Encoder:
    """The encoder that the settings name; `threads` are those of one call of the embedded model. Raises likewise.

    One per process: a build that embeds and then asks its own index loads the model once.
    """
    remote = _remote_encoder(settings)
    if remote:
        return remote
    models = Home(settings.home).models
    key = (LocalEncoder, models, settings.embedding_precision, threads, settings.embedding_batch_tokens)
    with _lock:
        if key not in _local:
            _local.clear()  # of other settings
            _local[key] = LocalEncoder(*key[1:])
        return _local[key]


def _remote_encoder(settings: Settings) -> RemoteEncoder | None:
    """The remote encoder, one per endpoint and process: its connections and its breaker are shared."""
    endpoint = embed_endpoint(settings)
    if endpoint is None:
        return None
    query_s = settings.retrieval_budget_ms / 1000
    prefixes = (settings.embed_query_prefix, settings.embed_document_prefix)
    key = (endpoint.root, endpoint.model, settings.embed_api_key, query_s, *prefixes)
    with _lock:
        if key not in _remote:
            _remote[key] = RemoteEncoder(
                endpoint, query_s=query_s, query_prefix=prefixes[0], document_prefix=prefixes[1]
            )
        return _remote[key]
