"""The model endpoints that are configured; each role has its own base URL, model and key, and each is optional."""

from __future__ import annotations

from pydantic import SecretStr

from codeintel_core.models.chat import ChatModel
from codeintel_core.models.score import ScoreModel
from codeintel_core.models.transport import Endpoint, Policy
from codeintel_core.settings import Settings

_EMBED_BATCHES = 4  # side by side: enough to keep a server busy


def chat_model(settings: Settings) -> ChatModel | None:
    """The chat model, or None when none is configured."""
    endpoint = _endpoint("chat", settings.chat_base_url, settings.chat_model, settings.chat_api_key)
    return ChatModel(endpoint) if endpoint else None


def score_model(settings: Settings) -> ScoreModel | None:
    """The reranker, or None when none is configured."""
    endpoint = _endpoint("rerank", settings.rerank_base_url, settings.rerank_model, settings.rerank_api_key)
    return ScoreModel(endpoint) if endpoint else None


def embed_endpoint(settings: Settings) -> Endpoint | None:
    """The embedding endpoint, or None when vectors come from the embedded model."""
    policy = Policy(concurrency=_EMBED_BATCHES)
    return _endpoint("embed", settings.embed_base_url, settings.embed_model, settings.embed_api_key, policy)


def sparse_endpoint(settings: Settings) -> Endpoint | None:
    """The endpoint of sparse vectors, or None when none is configured."""
    policy = Policy(concurrency=_EMBED_BATCHES)
    return _endpoint("sparse", settings.sparse_base_url, settings.sparse_model, settings.sparse_api_key, policy)


def _endpoint(
    role: str, base_url: str, model: str, key: SecretStr | None, policy: Policy | None = None
) -> Endpoint | None:
    return Endpoint(role, base_url, model, key.get_secret_value() if key else "", policy) if base_url else None
