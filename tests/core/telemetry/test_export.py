"""What leaves the process: redaction, tail sampling and its bounds, log lines that cannot be forged, propagation."""

from __future__ import annotations

import io
import logging
import sys
import threading
import warnings

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from codeintel_core.telemetry import Status, logs, metrics, propagation, providers, run, sampling, spans, step
from codeintel_core.telemetry import conventions as names
from codeintel_core.telemetry.redaction import one_line, redacted
from codeintel_core.telemetry.sampling import Redacting, TailSampling

SECRETS = [
    "Bearer abcdef0123456789", "sk-abcdef123456", "ghp_abcdefghijkl", "AKIAABCDEFGHIJKLMNOP", "api_key=verysecret",
    "password: hunter22", "https://ada:hunter2@example.org", "token='abcdefgh'",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_redacted(secret: str) -> None:
    found = redacted(f"before {secret} after")
    assert found.startswith("before ")
    assert "***" in found
    for part in ("abcdef", "hunter2", "verysecret", "AKIA", "MIIabc"):
        assert part not in found


@pytest.mark.parametrize(
    "text", ["token_count=3 passwords", "a/b/c.py", "1 of 2 tokens", "secretary", "see https://x.org/a/b"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


def test_paths_keep_their_last_part_and_lines_are_one() -> None:
    assert redacted("cannot read /srv/home/x.faiss: no") == "cannot read …/x.faiss: no"
    assert one_line("a\nb\x1b[31mc\0d", 100) == "a b [31mc d"
    assert len(redacted("x" * 10_000)) == 500


def _provider(sampler: TailSampling) -> trace.Tracer:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(sampler)
    return provider.get_tracer("t")


def _sampled(keep_ratio: float = 0.0, slow_ms: float = 1e9) -> tuple[trace.Tracer, InMemorySpanExporter, TailSampling]:
    exporter = InMemorySpanExporter()
    sampler = TailSampling(Redacting(SimpleSpanProcessor(exporter)), keep_ratio=keep_ratio, slow_ms=slow_ms)
    return _provider(sampler), exporter, sampler


def _named(exporter: InMemorySpanExporter) -> set[str]:
    return {span.name for span in exporter.get_finished_spans()}


@pytest.mark.parametrize(
    ("attributes", "is_error", "is_kept"),
    [
        ({}, False, False),
        ({}, True, True),
        ({names.STATUS: "timed_out"}, False, True),
        ({names.STATUS: "cancelled"}, False, True),
        ({names.STATUS: "skipped"}, False, False),
        ({names.FLAGS: ("slow_stage",)}, False, True),
    ],
)
def test_a_trace_is_kept_for_what_happened_in_any_span(
    attributes: dict[str, str], is_error: bool, is_kept: bool
) -> None:
    tracer, exporter, sampler = _sampled()
    with tracer.start_as_current_span("root"), tracer.start_as_current_span("child") as child:
        child.set_attributes(attributes)
        if is_error:
            child.set_status(trace.StatusCode.ERROR)
    assert _named(exporter) == ({"root", "child"} if is_kept else set())
    assert sampler.held == 0


def test_slow_roots_are_kept_and_of_the_rest_a_share() -> None:
    tracer, exporter, _ = _sampled(slow_ms=0)
    with tracer.start_as_current_span("slow"):
        pass
    assert _named(exporter) == {"slow"}
    tracer, exporter, _ = _sampled(keep_ratio=0.5)
    for at in range(400):
        with tracer.start_as_current_span(str(at)):
            pass
    assert 120 < len(exporter.get_finished_spans()) < 280


def test_what_ends_after_its_root_follows_the_decision() -> None:
    tracer, exporter, sampler = _sampled(keep_ratio=1.0)
    with tracer.start_as_current_span("root"):
        late = tracer.start_span("late")
    late.end()
    assert _named(exporter) == {"root", "late"}
    assert sampler.held == 0


def test_what_waits_is_bounded_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_TRACES", 3)
    monkeypatch.setattr(sampling, "MAX_SPANS", 2)
    before = metrics.REGISTRY.get_sample_value("codeintel_spans_dropped_total") or 0
    tracer, _, sampler = _sampled()
    roots = []
    for _ in range(10):
        root = tracer.start_span("root")
        roots.append(root)
        with trace.use_span(root):
            for _ in range(5):
                tracer.start_span("child").end()
    assert sampler.held <= 3 * 2
    assert (metrics.REGISTRY.get_sample_value("codeintel_spans_dropped_total") or 0) - before >= 10 * 3
    for root in roots:
        root.end()


def test_detectors_are_asked_after_the_trace_and_keep_it() -> None:
    tracer, exporter, sampler = _sampled()
    may_go_on, asked_in = threading.Event(), list[str]()

    def judge() -> list[str]:
        may_go_on.wait(30)
        asked_in.append(threading.current_thread().name)
        return ["one_file", "slow_stage", "one_file"]

    with tracer.start_as_current_span("root") as root:
        late = tracer.start_span("late")
        sampler.judge_later(root.get_span_context().trace_id, root.get_span_context().span_id, judge)
    late.end()  # while the detectors run
    with tracer.start_as_current_span("nothing found") as other:
        sampler.judge_later(other.get_span_context().trace_id, other.get_span_context().span_id, list)
    assert _named(exporter) == set()
    assert sampler.held == 3
    may_go_on.set()
    sampler.force_flush()
    assert asked_in[0].startswith("detectors")
    found = {span.name: span.attributes for span in exporter.get_finished_spans()}
    assert found == {"root": {names.FLAGS: ("one_file", "slow_stage")}, "late": {}}
    assert sampler.held == 0


def test_detectors_that_fail_or_cannot_keep_up_cost_their_findings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(name: str, **labels: str) -> float:
        return metrics.REGISTRY.get_sample_value(name, labels) or 0.0

    monkeypatch.setattr(sampling, "MAX_WAITING", 1)
    tracer, exporter, sampler = _sampled(keep_ratio=1.0)
    failed = counted("codeintel_telemetry_errors_total")
    shed = counted("codeintel_traces_sampled_total", decision="unjudged")
    may_go_on = threading.Event()

    def judge() -> list[str]:
        may_go_on.wait(30)
        raise RuntimeError("a detector is wrong")

    for name in ("first", "second"):
        with tracer.start_as_current_span(name) as root:
            sampler.judge_later(root.get_span_context().trace_id, root.get_span_context().span_id, judge)
    assert _named(exporter) == {"second"}
    may_go_on.set()
    sampler.shutdown()
    assert _named(exporter) == {"first", "second"}
    assert counted("codeintel_telemetry_errors_total") == failed + 1
    assert counted("codeintel_traces_sampled_total", decision="unjudged") == shed + 1


def test_attributes_are_redacted_before_they_are_exported() -> None:
    tracer, exporter, _ = _sampled(keep_ratio=1.0)
    with tracer.start_as_current_span("x") as span:
        span.set_attribute("said", "key sk-abcdef123456 in /srv/data/file")
        span.set_attribute(names.URL_PATH, "/runs/abc")
    (found,) = exporter.get_finished_spans()
    assert isinstance(found, ReadableSpan)
    assert found.attributes == {"said": "key *** in …/file", names.URL_PATH: "/runs/abc"}


def _formatted(record: logging.LogRecord) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.SafeFormatter())
    handler.emit(record)
    return stream.getvalue()


@pytest.mark.parametrize(
    "text", ["a\nERROR codeintel forged", "a\r\nERROR x", "a\x1b[2K\x1b[1Gok", "a\u2028b", "a\x85ERROR"]
)
def test_a_quoted_text_cannot_forge_a_line(text: str) -> None:
    line = _formatted(logging.LogRecord("codeintel", logging.WARNING, "f", 1, "asked: %s", (text,), None))
    assert len(line.splitlines()) == 1
    assert line.startswith("WARNING codeintel asked: a")
    assert "\x1b" not in line


def test_a_traceback_is_visibly_the_continuation_of_its_record() -> None:
    try:
        raise ValueError("x\nERROR codeintel forged")
    except ValueError:
        record = logging.LogRecord("codeintel", logging.ERROR, "f", 1, "failed", (), sys.exc_info())
    first, *rest = _formatted(record).rstrip("\n").split("\n")
    assert first == "ERROR codeintel failed"
    assert rest
    assert all(line.startswith("  | ") for line in rest)


def test_a_line_names_its_run() -> None:
    with run("search", None) as current:
        assert current.run_id in _formatted(logging.LogRecord("c", logging.INFO, "f", 1, "x", (), None))


@pytest.mark.parametrize(
    ("signal", "environment", "is_exported"),
    [
        ("traces", {}, False),
        ("traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, True),
        ("logs", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, False),
        ("traces", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ("metrics", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_the_standard_variables_decide(
    monkeypatch: pytest.MonkeyPatch, signal: str, environment: dict[str, str], is_exported: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert providers.exports(signal) is is_exported


def test_ids_exist_without_any_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("false", "true"):
        monkeypatch.setenv("OTEL_SDK_DISABLED", value)
        providers.shutdown()
        with run("search", None) as current, step("fuse.scores"):
            pass
        assert int(current.trace_id, 16) != 0
        assert int(current.steps[0].span_id, 16) != 0
    providers.shutdown()


def test_a_malformed_variable_stops_export_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    providers.shutdown()
    with run("search", None) as current, step("fuse.scores"):
        pass
    assert current.steps[0].status is Status.COMPLETED
    providers.shutdown()


def test_a_program_that_embeds_us_may_bring_its_exporter() -> None:
    exporter = InMemorySpanExporter()
    providers.use(exporter)
    with run("search", None), step("fuse.scores"):
        pass
    providers.shutdown()
    assert _named(exporter) == {"search", "fuse.scores"}


@pytest.mark.parametrize(
    "carrier", [None, {}, {"traceparent": 3}, {"traceparent": "x" * 9999}, {"traceparent": "00-1-2-3"}]
)
def test_a_malformed_parent_is_none(carrier: dict[str, object] | None) -> None:
    assert propagation.parent_of(carrier) is None


def test_every_kind_of_step_has_a_span_name() -> None:
    for kind in names.KINDS:
        name, _ = spans.name_and_kind(kind, {"model": "m", "writer": "chat"})
        assert name
        assert spans.attributes_of(kind, Status.FAILED, "x", {"model": "m"})[names.ERROR_TYPE] == "x"


@pytest.mark.parametrize("category", [DeprecationWarning, PendingDeprecationWarning])
def test_whatever_of_ours_uses_what_is_on_its_way_out_fails_its_test(category: type[Warning]) -> None:
    """The suite's own setting: it holds for every module, and for ours only."""
    with pytest.raises(category, match="old"):
        warnings.warn_explicit("old", category, "steps.py", 1, module="codeintel_core.telemetry.steps")
    with pytest.warns(category, match="old"):
        warnings.warn_explicit("old", category, "x.py", 1, module="somebody.else")
