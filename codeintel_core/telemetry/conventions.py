"""Names used in steps, spans and metrics: step kinds, statuses, and the semantic conventions that spans follow.

HTTP and DB are stable; GenAI and MCP are in development and live only here; OpenInference is what trace viewers for
retrieval (Phoenix) read. Nothing else in the code base spells an attribute name.
"""

from __future__ import annotations

from enum import StrEnum

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"


class Status(StrEnum):
    """How a step ended; exactly one of these."""

    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


class Outcome(StrEnum):
    """What the caller of a run got; exactly one of these."""

    OK = "ok"
    REFUSED = "refused"
    """The request was at fault: a status from 400 to 499."""
    ERROR = "error"
    CANCELLED = "cancelled"

    @classmethod
    def of(cls, status: int) -> Outcome:
        """By the status of the answer, as HTTP numbers them."""
        return cls.OK if status < 400 else cls.REFUSED if status < 500 else cls.ERROR


BAD = frozenset({Status.FAILED, Status.TIMED_OUT, Status.CANCELLED})
"""Statuses of a step that did not do its work."""

KINDS = frozenset(
    {
        "tool",
        "scope.open",
        "scope.fetch",
        "scope.share",
        "scope.resolve",
        "query.profile",
        "query.budget",
        "embed.query",
        "retrieve.dense",
        "faiss.primary",
        "faiss.secondary",
        "faiss.merge",
        "vector_engine.search",
        "vector_engine.verify",
        "retrieve.lexical",
        "retrieve.symbols",
        "retrieve.sparse",
        "retrieve.exact",
        "retrieve.regex",
        "encode.sparse",
        "retrieve.gather",
        "gate.secondary",
        "retrieve.feedback",
        "retrieve.cocitation",
        "fuse.scores",
        "hydrate.catalog",
        "hydrate.purged",
        "rank.priors",
        "rank.select",
        "cache.results",
        "rerank",
        "prompt.build",
        "synthesize",
        "cite.verify",
        "index.freshness",
        "trace.write",
        "files.read",
        "files.list",
        "grep",
        "symbols",
        "overview",
        "git.history",
        "git.blame",
        "git.diff",
        "generation.open",
        "runpack.build",
        # the pipeline's own stages
        "build.plan",
        "build.chunks",
        "build.symbols",
        "build.embeddings",
        "build.dense",
        "build.lexical",
        "build.sparse",
        "build.catalog",
        "build.vector_engine",
        "build.publish",
        "bucket.upload",
        "bucket.download",
        "evaluate.golden",
        "evaluate.retrieval",
        "learn.weights",
    }
)

# Our own attributes.
PREFIX = "codeintel."
RUN_ID, SESSION_ID, STATUS, REASON = "codeintel.run_id", "session.id", "codeintel.status", "codeintel.reason"
FLAGS = "codeintel.flags"
RUNPACK_READY = "runpack.ready"

# Stable: HTTP, DB, errors.
HTTP_METHOD, HTTP_ROUTE, HTTP_STATUS = "http.request.method", "http.route", "http.response.status_code"
URL_PATH, URL_SCHEME, SERVER_ADDRESS, SERVER_PORT = "url.path", "url.scheme", "server.address", "server.port"
DB_SYSTEM, DB_OPERATION, DB_COLLECTION = "db.system.name", "db.operation.name", "db.collection.name"
DB_ROWS = "db.response.returned_rows"
ERROR_TYPE = "error.type"

# In development: GenAI and MCP.
GEN_AI_OPERATION, GEN_AI_PROVIDER = "gen_ai.operation.name", "gen_ai.provider.name"
GEN_AI_MODEL, GEN_AI_RESPONSE_MODEL = "gen_ai.request.model", "gen_ai.response.model"
GEN_AI_TOKENS_IN, GEN_AI_TOKENS_OUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
GEN_AI_FINISH, GEN_AI_TOOL, GEN_AI_TOKEN_TYPE = (
    "gen_ai.response.finish_reasons",
    "gen_ai.tool.name",
    "gen_ai.token.type",
)
MCP_METHOD, MCP_SESSION = "mcp.method.name", "mcp.session.id"
PROVIDER = "openai"  # what the conventions want for an OpenAI-compatible endpoint of unknown make

# OpenInference.
OPENINFERENCE_KIND = "openinference.span.kind"
EMBEDDING_MODEL, LLM_MODEL, RERANKER_MODEL = "embedding.model_name", "llm.model_name", "reranker.model_name"
LLM_TOKENS_IN, LLM_TOKENS_OUT = "llm.token_count.prompt", "llm.token_count.completion"
RERANKER_TOP_K = "reranker.top_k"


class Viewed(StrEnum):
    """OpenInference kinds of span."""

    CHAIN = "CHAIN"
    RETRIEVER = "RETRIEVER"
    RERANKER = "RERANKER"
    EMBEDDING = "EMBEDDING"
    LLM = "LLM"
    TOOL = "TOOL"


VIEWED = {
    "tool": Viewed.TOOL,
    "mcp": Viewed.TOOL,
    "files.read": Viewed.TOOL,
    "embed.query": Viewed.EMBEDDING,
    "build.embeddings": Viewed.EMBEDDING,
    "retrieve.dense": Viewed.RETRIEVER,
    "retrieve.lexical": Viewed.RETRIEVER,
    "retrieve.symbols": Viewed.RETRIEVER,
    "retrieve.sparse": Viewed.RETRIEVER,
    "retrieve.gather": Viewed.RETRIEVER,
    "retrieve.cocitation": Viewed.RETRIEVER,
    "rerank": Viewed.RERANKER,
}
"""OpenInference kind by step kind or run operation; `synthesize` is LLM when a chat model writes, else CHAIN."""

DATABASES = {
    "faiss.primary": ("faiss", "search", "primary"),
    "faiss.secondary": ("faiss", "search", "secondary"),
    "vector_engine.search": ("postgresql", "SELECT", "vectors"),
    "vector_engine.verify": ("postgresql", "SELECT", "vectors"),
    "retrieve.lexical": ("lucene", "search", "chunks"),
    "retrieve.symbols": ("arrow", "lookup", "definitions"),
    "retrieve.exact": ("duckdb", "SELECT", "chunks"),
    "retrieve.regex": ("duckdb", "SELECT", "chunks"),
    "hydrate.catalog": ("arrow", "take", "chunks"),
    "symbols": ("duckdb", "SELECT", "symbols"),
    "files.list": ("duckdb", "SELECT", "files"),
    "scope.fetch": ("redis", "GET", "scopes"),
    "scope.share": ("redis", "SET", "scopes"),
}
"""Steps that query a database: (db.system.name, db.operation.name, db.collection.name)."""
