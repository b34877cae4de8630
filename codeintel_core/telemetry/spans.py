"""How a step looks as a span: its name, kind and attributes under the conventions."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.trace import SpanKind

from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry.conventions import Status, Viewed

Value = str | int | float | bool | None
Attribute = str | int | float | bool | tuple[str, ...]


def name_and_kind(kind: str, attributes: Mapping[str, Value]) -> tuple[str, SpanKind]:
    """Name and span kind of a step; models and databases are named as their conventions want."""
    model = attributes.get("model")
    if kind == "synthesize" and attributes.get("writer") == "chat":
        return f"chat {model}", SpanKind.CLIENT
    if kind == "rerank" and model:
        return f"rerank {model}", SpanKind.CLIENT
    if kind in ("faiss.primary", "faiss.secondary", "hydrate.catalog", "scope.fetch", "scope.share"):
        _, operation, collection = names.DATABASES[kind]
        return f"{operation} {collection}", SpanKind.CLIENT
    return kind, SpanKind.INTERNAL


def attributes_of(kind: str, status: Status, reason: str, attributes: Mapping[str, Value]) -> dict[str, Attribute]:
    """Attributes of a finished step: ours as `codeintel.<key>`, and those of the conventions."""
    found: dict[str, Attribute] = {
        f"{names.PREFIX}{key}": value for key, value in attributes.items() if value is not None
    }
    found[names.PREFIX + "step"] = kind
    found[names.STATUS] = status.value
    if reason:
        found[names.REASON] = reason
    if status in (Status.FAILED, Status.TIMED_OUT):
        found[names.ERROR_TYPE] = reason.split(":", maxsplit=1)[0][:80] if status is Status.FAILED else "timeout"
    found[names.OPENINFERENCE_KIND] = _viewed(kind, attributes).value
    if kind in names.DATABASES:
        found[names.DB_SYSTEM], found[names.DB_OPERATION], found[names.DB_COLLECTION] = names.DATABASES[kind]
        rows = attributes.get("hits", attributes.get("found"))
        if isinstance(rows, int):
            found[names.DB_ROWS] = rows
    found.update(_model_attributes(kind, attributes))
    return found


def _viewed(kind: str, attributes: Mapping[str, Value]) -> Viewed:
    if kind == "synthesize" and attributes.get("writer") == "chat":
        return Viewed.LLM
    return names.VIEWED.get(kind, Viewed.CHAIN)


def _model_attributes(kind: str, attributes: Mapping[str, Value]) -> dict[str, Attribute]:
    model = attributes.get("model")
    if not isinstance(model, str):
        return {}
    if kind == "embed.query":
        return {names.GEN_AI_OPERATION: "embeddings", names.GEN_AI_MODEL: model, names.EMBEDDING_MODEL: model}
    if kind == "rerank":
        candidates = attributes.get("candidates")
        top_k = {names.RERANKER_TOP_K: candidates} if isinstance(candidates, int) else {}
        return {names.RERANKER_MODEL: model, names.GEN_AI_MODEL: model, **top_k}
    if kind != "synthesize" or attributes.get("writer") != "chat":
        return {}
    found: dict[str, Attribute] = {
        names.GEN_AI_OPERATION: "chat",
        names.GEN_AI_PROVIDER: names.PROVIDER,
        names.GEN_AI_MODEL: model,
        names.LLM_MODEL: model,
    }
    if attributes.get("finish"):
        found[names.GEN_AI_FINISH] = (str(attributes["finish"]),)
    for key, both in (
        ("tokens_in", (names.GEN_AI_TOKENS_IN, names.LLM_TOKENS_IN)),
        ("tokens_out", (names.GEN_AI_TOKENS_OUT, names.LLM_TOKENS_OUT)),
    ):
        count = attributes.get(key)
        if isinstance(count, int):
            found |= dict.fromkeys(both, count)
    return found
