"""OTLP metrics under the conventions, recorded from finished steps and requests; /metrics stays the full set."""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry.conventions import SCHEMA_URL, Status
from codeintel_core.telemetry.spans import Attribute, Value, attributes_of

_BUCKETS_S = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]
_CHAT_KEPT = (names.GEN_AI_OPERATION, names.GEN_AI_PROVIDER, names.GEN_AI_MODEL)
_DB_KEPT = (names.DB_SYSTEM, names.DB_OPERATION, names.DB_COLLECTION, names.ERROR_TYPE)


class Instruments:
    """Histograms of the conventions, and one of every step."""

    def __init__(self, resource: Resource, reader: MetricReader | None = None) -> None:
        self._provider = MeterProvider(
            [reader or PeriodicExportingMetricReader(OTLPMetricExporter())], resource, shutdown_on_exit=False
        )
        meter = self._provider.get_meter("codeintel", schema_url=SCHEMA_URL)

        def seconds(name: str, about: str):  # type: ignore[no-untyped-def]  # the SDK's class is private
            return meter.create_histogram(name, "s", about, explicit_bucket_boundaries_advisory=_BUCKETS_S)

        self._step = seconds("codeintel.step.duration", "Duration of a step.")
        self._http = seconds("http.server.request.duration", "Duration of HTTP server requests.")
        self._mcp = seconds("mcp.server.operation.duration", "Duration of MCP requests.")
        self._db = seconds("db.client.operation.duration", "Duration of index and catalog queries.")
        self._gen_ai = seconds("gen_ai.client.operation.duration", "Duration of model operations.")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage", "{token}", "Tokens of model operations.")

    def step(self, kind: str, status: Status, seconds: float, attributes: Mapping[str, Value]) -> None:
        """Record a finished step."""
        self._step.record(seconds, {"codeintel.step": kind, names.STATUS: status.value})
        found = attributes_of(kind, status, "", attributes)
        if kind in names.DATABASES:
            self._db.record(seconds, _only(found, _DB_KEPT))
        if names.GEN_AI_OPERATION in found:
            labels = _only(found, _CHAT_KEPT)
            self._gen_ai.record(seconds, labels)
            for key, name in ((names.GEN_AI_TOKENS_IN, "input"), (names.GEN_AI_TOKENS_OUT, "output")):
                if isinstance(count := found.get(key), int):
                    self._tokens.record(count, {**labels, names.GEN_AI_TOKEN_TYPE: name})

    def request(self, operation: str, seconds: float, attributes: Mapping[str, Attribute]) -> None:
        """Record a finished HTTP or MCP request; `attributes` are those of its span with few values."""
        if operation == "http":
            kept = (names.HTTP_METHOD, names.HTTP_ROUTE, names.HTTP_STATUS, names.URL_SCHEME, names.ERROR_TYPE)
            self._http.record(seconds, _only(attributes, kept))
        elif operation == "mcp":
            self._mcp.record(seconds, _only(attributes, (names.MCP_METHOD, names.ERROR_TYPE)))

    def close(self) -> None:
        """Send what was recorded and stop."""
        self._provider.shutdown()


def _only(attributes: Mapping[str, Attribute], keys: tuple[str, ...]) -> dict[str, Attribute]:
    return {key: attributes[key] for key in keys if key in attributes}
