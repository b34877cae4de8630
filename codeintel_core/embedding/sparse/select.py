"""Which sparse model the settings name: a folder, an endpoint, or none. Builds and queries both ask here."""

from __future__ import annotations

import threading

from codeintel_core.embedding.sparse.contract import SparseContract, SparseEncoder
from codeintel_core.embedding.sparse.local import LocalSparseEncoder, folder_contract
from codeintel_core.embedding.sparse.remote import RemoteSparseEncoder
from codeintel_core.home import Home
from codeintel_core.models.roles import sparse_endpoint
from codeintel_core.settings import Settings

_remote: dict[tuple[object, ...], RemoteSparseEncoder] = {}
_lock = threading.Lock()


def sparse_contract_for(settings: Settings) -> SparseContract | None:
    """The contract that the settings name, None when they name no sparse model.

    Raises:
        ModelUnavailable, DeadlineExceeded: the folder holds no model, or the endpoint does not answer.
    """
    remote = _remote_encoder(settings)
    if remote is not None:
        return remote.contract
    if settings.sparse_model_dir is None:
        return None
    return folder_contract(
        settings.sparse_model_dir,
        document_terms=settings.sparse_document_terms,
        query_terms=settings.sparse_query_terms,
    )


def sparse_encoder_for(settings: Settings, *, threads: int = 1) -> SparseEncoder | None:
    """The encoder that the settings name; `threads` are those of one call of a local model. Raises likewise."""
    remote = _remote_encoder(settings)
    if remote is not None:
        return remote
    contract = sparse_contract_for(settings)
    if contract is None or settings.sparse_model_dir is None:
        return None
    return LocalSparseEncoder(settings.sparse_model_dir, Home(settings.home).models, contract, threads)


def _remote_encoder(settings: Settings) -> RemoteSparseEncoder | None:
    """The remote encoder, one per endpoint and process: its connections and its breaker are shared."""
    endpoint = sparse_endpoint(settings)
    if endpoint is None:
        return None
    query_s = settings.retrieval_budget_ms / 1000
    most = (settings.sparse_document_terms, settings.sparse_query_terms)
    key = (endpoint.root, endpoint.model, settings.sparse_api_key, query_s, *most)
    with _lock:
        if key not in _remote:
            _remote[key] = RemoteSparseEncoder(endpoint, query_s=query_s, document_terms=most[0], query_terms=most[1])
        return _remote[key]
