"""Names used in steps, spans and metrics: the closed list of step kinds and attribute names."""

from __future__ import annotations

from enum import StrEnum

SCHEMA_URL = "https://opentelemetry.io/schemas/1.38.0"


class Status(StrEnum):
    """How a step ended; exactly one of these."""

    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


KINDS = frozenset(
    {
        "tool",
        "scope.open",
        "scope.resolve",
        "query.profile",
        "query.budget",
        "embed.query",
        "retrieve.dense",
        "faiss.primary",
        "faiss.secondary",
        "faiss.merge",
        "retrieve.lexical",
        "retrieve.symbols",
        "retrieve.sparse",
        "retrieve.exact",
        "retrieve.regex",
        "encode.sparse",
        "retrieve.gather",
        "gate.secondary",
        "retrieve.feedback",
        "fuse.scores",
        "hydrate.catalog",
        "rank.priors",
        "rank.select",
        "cache.results",
        "rerank",
        "prompt.build",
        "synthesize",
        "cite.verify",
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
        # the pipeline's own stages
        "build.plan",
        "build.chunks",
        "build.symbols",
        "build.embeddings",
        "build.dense",
        "build.lexical",
        "build.sparse",
        "build.catalog",
        "build.publish",
        "evaluate.golden",
        "evaluate.retrieval",
    }
)
