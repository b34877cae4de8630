"""OpenTelemetry set up once: ids always exist, spans leave the process only when OTEL_* names an exporter."""

from __future__ import annotations

import os
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from codeintel_core.telemetry.conventions import SCHEMA_URL


@lru_cache(maxsize=1)
def tracer() -> trace.Tracer:
    """The tracer of this process."""
    provider = TracerProvider(resource=Resource.create({"service.name": "codeintel"}))
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("codeintel", schema_url=SCHEMA_URL)
