"""Prometheus metrics of this process; base units, bounded labels, prefix `codeintel_`."""

from __future__ import annotations

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
    registry=REGISTRY,
)  # fmt: skip
READY_STATE = Gauge("codeintel_ready_state", "1 for the present readiness state.", ["state"], registry=REGISTRY)
MODEL_REQUESTS = Counter(
    "codeintel_model_requests_total", "Requests to model endpoints by result.", ["role", "result"], registry=REGISTRY
)
BREAKER_OPEN = Gauge(
    "codeintel_model_breaker_open", "1 while the circuit breaker of an endpoint is not closed.", ["role"],
    registry=REGISTRY,
)  # fmt: skip
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
IN_FLIGHT = Gauge("codeintel_in_flight", "Requests that hold a slot of their kind.", ["kind"], registry=REGISTRY)
SCOPE_ENTRIES = Gauge("codeintel_scope_entries", "Entries of the scope store in this worker.", registry=REGISTRY)
REDIS_UP = Gauge("codeintel_redis_up", "1 while Redis answers, 0 after it did not.", registry=REGISTRY)
SYNTHESES = Counter("codeintel_chat_streams_total", "Chat streams by how they ended.", ["end"], registry=REGISTRY)
DATABASE_CURSORS = Gauge("codeintel_database_cursors", "DuckDB cursors in use.", registry=REGISTRY)
