"""OpenTelemetry set up once per process: traces, metrics and logs.

Ids always exist. Signals leave the process only when the standard variables name an OTLP endpoint
(`OTEL_EXPORTER_OTLP_ENDPOINT` or one per signal); `OTEL_<SIGNAL>_EXPORTER=none` and `OTEL_SDK_DISABLED` switch off.
The providers are ours, not the global ones: libraries that trace themselves (FastMCP) would otherwise add a second
span for what is a step already, with exception texts nobody redacted.
"""

from __future__ import annotations

import atexit
import logging
import os
import platform
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from codeintel_core.settings import get_settings
from codeintel_core.telemetry.conventions import SCHEMA_URL
from codeintel_core.telemetry.sampling import Judge, Redacting, TailSampling
from codeintel_core.telemetry.spans import Attribute

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from codeintel_core.telemetry.log_bridge import LogBridge
    from codeintel_core.telemetry.otel_metrics import Instruments

_SCOPE = "codeintel"
_SHUTDOWN_MS = 2_000
_log = logging.getLogger("codeintel.telemetry")


@dataclass
class Providers:
    """What is set up; all of it is None where nothing is exported."""

    traces: TracerProvider | None = None
    tracer: trace.Tracer | None = None
    sampling: TailSampling | None = None
    instruments: Instruments | None = None
    logs: LogBridge | None = None

    def close(self) -> None:
        """Send what is buffered, for at most two seconds: an exporter that hangs keeps no process alive."""

        def shut() -> None:
            if self.traces is not None:
                self.traces.shutdown()
            for other in (self.instruments, self.logs):
                if other is not None:
                    other.close()

        closing = threading.Thread(target=shut, name="telemetry-shutdown", daemon=True)
        closing.start()
        closing.join(_SHUTDOWN_MS / 1000)


_lock = threading.Lock()
_providers: Providers | None = None


def get() -> Providers:
    """The providers of this process, set up at the first call."""
    global _providers  # noqa: PLW0603 (once per process is the point)
    if _providers is None:
        with _lock:
            if _providers is None:
                _providers = _from_environment()
                atexit.register(shutdown)
    return _providers


def use(exporter: SpanExporter) -> Providers:
    """Set up traces with this exporter instead of what the environment names, for a program that embeds this one."""
    global _providers  # noqa: PLW0603
    shutdown()
    made = _traces(exporter)
    with _lock:
        _providers = made
    return made


def shutdown() -> None:
    """Flush and close the providers; the next use sets them up again."""
    global _providers
    with _lock:
        old, _providers = _providers, None
    if old is not None:
        old.close()


def judge_later(span: trace.Span, judge: Judge) -> None:
    """Ask for findings about the run of `span` once it has ended, where spans are exported; a flagged trace is kept."""
    sampling, context = get().sampling, span.get_span_context()
    if sampling is not None and span.is_recording():
        sampling.judge_later(context.trace_id, context.span_id, judge)


def measure_request(operation: str, seconds: float, attributes: Mapping[str, Attribute]) -> None:
    """Record a finished HTTP or MCP request in the OTLP metrics, when they are exported."""
    instruments = get().instruments
    if instruments is not None:
        instruments.request(operation, seconds, attributes)


def resource() -> Resource:
    """What describes this process; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` win."""
    ours: dict[str, str | int] = {
        "service.namespace": "codeintel",
        "service.version": _version(),
        "service.instance.id": str(uuid.uuid4()),
        "process.pid": os.getpid(),
        "process.runtime.name": platform.python_implementation().lower(),
        "process.runtime.version": platform.python_version(),
        "host.name": platform.node(),
        "os.type": platform.system().lower(),
    }
    given = Resource.create()
    named = given.attributes.get("service.name", "")
    if not named or str(named).startswith("unknown_service"):
        given = given.merge(Resource({"service.name": "codeintel"}))
    return Resource(dict(ours), SCHEMA_URL).merge(given)


def exports(signal: str) -> bool:
    """Whether the environment names an OTLP endpoint for `traces`, `metrics` or `logs`."""
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "otlp").strip().lower() == "none":
        return False
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return any(os.environ.get(name, "").strip() for name in names)


def _from_environment() -> Providers:
    found = Providers()
    try:
        if exports("traces"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

            found = _traces(OTLPSpanExporter())
        if exports("metrics"):
            from codeintel_core.telemetry.otel_metrics import Instruments

            found.instruments = Instruments(resource())
        if exports("logs"):
            from codeintel_core.telemetry.log_bridge import LogBridge

            found.logs = LogBridge(resource())
        return found
    except Exception as error:  # a malformed OTEL_* variable must not stop the product
        _log.warning("telemetry is not exported: %s", type(error).__name__)
        found.close()
        return Providers()


def _traces(exporter: SpanExporter) -> Providers:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
    settings = get_settings()
    sampling = TailSampling(
        Redacting(BatchSpanProcessor(exporter)), keep_ratio=settings.trace_keep_ratio, slow_ms=settings.trace_slow_ms
    )
    provider.add_span_processor(sampling)
    return Providers(provider, provider.get_tracer(_SCOPE, schema_url=SCHEMA_URL), sampling)


def _version() -> str:
    try:
        return version("codeintel")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0"
