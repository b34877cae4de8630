"""An OTLP receiver on a real socket: it decodes what arrives and keeps it."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_REQUESTS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}


@dataclass
class Received:
    """A span or log record with plain values."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    schema_url: str
    links: list[tuple[str, str]] = field(default_factory=list)
    kind: int = 0
    is_error: bool = False
    body: str = ""
    events: list[str] = field(default_factory=list)


class OtlpReceiver:
    """Use as a context manager; `url` goes into OTEL_EXPORTER_OTLP_ENDPOINT."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.raw: list[bytes] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                receiver.raw.append(data)
                receiver.messages.append(_REQUESTS[self.path].FromString(data))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def spans(self) -> list[Received]:
        """Every span received."""
        return list(self._spans())

    def _spans(self) -> Iterator[Received]:
        for message in list(self.messages):
            if not isinstance(message, ExportTraceServiceRequest):
                continue
            for group in message.resource_spans:
                for scope in group.scope_spans:
                    for span in scope.spans:
                        yield Received(
                            span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                            _plain(span.attributes), _plain(group.resource.attributes), scope.schema_url,
                            [(link.trace_id.hex(), link.span_id.hex()) for link in span.links], span.kind,
                            span.status.code == 2, events=[event.name for event in span.events],
                        )  # fmt: skip

    @property
    def logs(self) -> list[Received]:
        """Every log record received."""
        return [
            Received(
                record.event_name, record.trace_id.hex(), record.span_id.hex(), "", _plain(record.attributes),
                _plain(group.resource.attributes), scope.schema_url, body=record.body.string_value,
            )
            for message in list(self.messages) if isinstance(message, ExportLogsServiceRequest)
            for group in message.resource_logs for scope in group.scope_logs for record in scope.log_records
        ]  # fmt: skip

    @property
    def metric_names(self) -> set[str]:
        """Names of the metrics received."""
        return {
            metric.name
            for message in list(self.messages) if isinstance(message, ExportMetricsServiceRequest)
            for group in message.resource_metrics for scope in group.scope_metrics for metric in scope.metrics
        }  # fmt: skip


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind) if kind else None
