"""Prometheus metrics of this process; base units, bounded labels, prefix `codeintel_`."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)

STEP_SECONDS = Histogram(
    "codeintel_step_seconds", "Duration of a step.", ["kind", "status"], registry=REGISTRY, buckets=_BUCKETS_S
)
REQUEST_SECONDS = Histogram(
    "codeintel_request_seconds", "Duration of a request.", ["operation", "status"], registry=REGISTRY,
    buckets=_BUCKETS_S,
)  # fmt: skip
CITATIONS = Counter("codeintel_citations_total", "Citations by result of verification.", ["result"], registry=REGISTRY)
TELEMETRY_ERRORS = Counter("codeintel_telemetry_errors_total", "Swallowed telemetry failures.", registry=REGISTRY)
TRACES_DROPPED = Counter("codeintel_traces_dropped_total", "Trace rows that could not be written.", registry=REGISTRY)
GENERATION_INFO = Gauge(
    "codeintel_generation_created_timestamp_seconds", "When the served generation was built.", ["repo"],
    registry=REGISTRY)  # fmt: skip
READY_STATE = Gauge(
    "codeintel_ready_state",
    "1 for the present readiness state.",
    ["state"],
    registry=REGISTRY,
)
MODEL_REQUESTS = Counter(
    "codeintel_model_requests_total", "Requests to model endpoints by result.", ["role", "result"], registry=REGISTRY
)
BREAKER_OPEN = Gauge(
    "codeintel_model_breaker_open", "1 while the circuit breaker of an endpoint is not closed.", ["role"],
    registry=REGISTRY)  # fmt: skip
FIRST_TOKEN_SECONDS = Histogram(
    "codeintel_first_token_seconds", "From the question to the first token, by who writes the answer.", ["writer"],
    registry=REGISTRY, buckets=_BUCKETS_S,
)  # fmt: skip
TOKENS = Counter(
    "codeintel_chat_tokens_total", "Tokens of chat completions, as the server counts them.", ["direction"],
    registry=REGISTRY,
)  # fmt: skip
CACHE_REQUESTS = Counter(
    "codeintel_cache_requests_total", "Look-ups by cache and result: hit (scopes: l1, l2), shared or miss.",
    ["cache", "result"], registry=REGISTRY,
)  # fmt: skip
SHED = Counter(
    "codeintel_shed_total", "Requests refused because no slot of their kind was free.", ["kind"], registry=REGISTRY
)
IN_FLIGHT = Gauge(
    "codeintel_in_flight",
    "Requests that hold a slot of their kind.",
    ["kind"],
    registry=REGISTRY,
)
SCOPE_ENTRIES = Gauge(
    "codeintel_scope_entries",
    "Entries of the scope store in this worker.",
    registry=REGISTRY,
)
REDIS_UP = Gauge("codeintel_redis_up", "1 while Redis answers, 0 after it did not.", registry=REGISTRY)
SYNTHESES = Counter("codeintel_chat_streams_total", "Chat streams by how they ended.", ["end"], registry=REGISTRY)
DATABASE_CURSORS = Gauge("codeintel_database_cursors", "DuckDB cursors in use.", registry=REGISTRY)

SPANS_DROPPED = Counter("codeintel_spans_dropped_total", "Spans that tail sampling had no room for.", registry=REGISTRY)
TRACES_SAMPLED = Counter(
    "codeintel_traces_sampled_total", "Traces by what tail sampling decided; unjudged: without detectors.",
    ["decision"], registry=REGISTRY,
)  # fmt: skip
ANSWERS = Counter(
    "codeintel_answers_total", "Searches and answers by how they ended.", ["operation", "mode", "status"],
    registry=REGISTRY,
)  # fmt: skip
CONFIDENCE = Histogram(
    "codeintel_answer_confidence", "Confidence of answers, 0..1.", registry=REGISTRY,
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)  # fmt: skip
CHANNEL_RESULTS = Counter(
    "codeintel_channel_results_total", "Retrieval channels by how they ended.", ["channel", "status"],
    registry=REGISTRY,
)  # fmt: skip
CHANNEL_CANDIDATES = Histogram(
    "codeintel_channel_candidates", "Candidates that a channel found.", ["channel"], registry=REGISTRY,
    buckets=(0, 1, 3, 10, 30, 100, 300, 1000),
)  # fmt: skip
CHANNEL_CONTRIBUTION = Counter(
    "codeintel_channel_contribution_total", "Final hits by each channel that found them.", ["channel"],
    registry=REGISTRY,
)  # fmt: skip
REQUESTS_IN_FLIGHT = Gauge(
    "codeintel_requests_in_flight", "Requests that are being worked on.", ["operation"], registry=REGISTRY,
)  # fmt: skip
FINDINGS = Counter("codeintel_findings_total", "Findings of detectors by kind.", ["kind"], registry=REGISTRY)
FEEDBACK = Counter("codeintel_feedback_total", "Judgements of answers by kind.", ["kind"], registry=REGISTRY)
RUNPACKS = Counter(
    "codeintel_runpacks_total", "Runpacks by trigger and result.", ["trigger", "result"], registry=REGISTRY
)
RUNPACK_BYTES = Histogram(
    "codeintel_runpack_size_bytes", "Size of runpacks.", registry=REGISTRY, buckets=(1e3, 1e4, 1e5, 1e6, 1e7)
)


@lru_cache(maxsize=512)
def step_seconds(kind: str, status: str) -> Histogram:
    """The histogram of one kind and status; looked up once, since every step needs it."""
    return STEP_SECONDS.labels(kind, status)


@lru_cache(maxsize=512)
def request_seconds(operation: str, status: str) -> Histogram:
    """The histogram of one operation and status."""
    return REQUEST_SECONDS.labels(operation, status)


@lru_cache(maxsize=512)
def answers(operation: str, mode: str, status: str) -> Counter:
    """The counter of one operation, mode and status."""
    return ANSWERS.labels(operation, mode, status)


def observe(histogram: Histogram, value: float, trace_id: str) -> None:
    """Observe with the trace as the exemplar."""
    histogram.observe(value, {"trace_id": trace_id} if trace_id else None)
