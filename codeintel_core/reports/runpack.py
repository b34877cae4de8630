"""Runpacks: one run in one small file that may be sent to somebody else.

What goes in is on a list, field by field; texts are redacted; sizes are capped; names are flat; the same run and log
give the same bytes. Building one never raises.
"""

from __future__ import annotations

import json
import logging
import platform
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Any

from codeintel_core.errors import CodeIntelError, InvalidRequest, UnknownRun
from codeintel_core.generations import manifest as manifests
from codeintel_core.home import Home
from codeintel_core.reports import views
from codeintel_core.reports.detectors import Thresholds
from codeintel_core.reports.model import RunReport
from codeintel_core.reports.run_report import canonical, day_of, run_report
from codeintel_core.settings import Settings
from codeintel_core.telemetry import ledger, logs, metrics, step
from codeintel_core.telemetry.conventions import RUNPACK_READY
from codeintel_core.telemetry.redaction import redacted
from codeintel_core.traces import lookup

FORMAT = 1
DEMAND = "demand"
MAX_BYTES = 4 << 20
MAX_PART_BYTES = 1 << 20
_LOG_LINES = 200
_LONGEST_TEXT = 2_000
_EPOCH = (1980, 1, 1, 0, 0, 0)
_log = logging.getLogger("codeintel.runpack")
_writing = threading.Lock()

SETTINGS = (
    "embedding_precision", "embedding_threads", "embedding_batch_tokens", "max_file_bytes", "jvm_heap_mb",
    "dense_flat_max", "dense_min_recall", "lexical_first_texts", "compaction_ratio", "inline_rebuild_ratio",
    "dense_device", "verify_digests", "watch_interval_s", "retrieval_budget_ms", "answer_budget_ms", "channel_workers",
    "candidates", "max_per_file", "query_vector_cache", "result_cache", "chat_model", "chat_max_tokens",
    "chat_answer_ms", "chat_idle_ms", "embed_model", "rerank_model", "rerank_candidates", "rerank_budget_ms",
    "trace_keep_ratio", "trace_slow_ms", "log_level",
)  # fmt: skip
"""Settings that may leave: no keys, no addresses, no paths."""
_PACKAGES = (
    "codeintel", "dagster", "duckdb", "faiss-cpu", "faiss-gpu", "fastapi", "fastmcp", "httpx", "numpy", "onnxruntime",
    "opentelemetry-sdk", "polars", "pyarrow", "pyserini", "tree-sitter",
)  # fmt: skip
_LEDGER = (
    "run_id", "section", "ms", "event", "operation", "trace_id", "at", "kind", "span_id", "parent_id", "status",
    "reason", "detail", "start_ms", "duration_ms", "attributes",
)  # fmt: skip
_ROW = (
    "trace_id", "run_id", "otel_trace_id", "operation", "surface", "asked_at", "query", "query_digest", "query_kind",
    "scope", "mode", "generations", "lags", "retrieval_budget_ms", "total_budget_ms", "stages", "latency_ms",
    "candidates", "fusion", "tuning_id", "model", "prompt_version", "tokens_in", "tokens_out",
    "time_to_first_token_ms", "tokens_per_second",
    "finish", "citations_verified", "citations_dropped", "confidence", "limits", "status", "error", "stopped_because",
)  # fmt: skip
_MANIFEST = (
    "format_version", "gen_id", "parent", "repo", "commit", "created_at", "dagster_run_id", "versions", "contract",
    "dense", "counts", "coverage", "tuning_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Built:
    """A runpack that was written; its id is the run's."""

    run_id: str
    path: Path
    size_bytes: int


def build(
    home: Home,
    run_id: str,
    *,
    trigger: str,
    settings: Settings,
    readiness: Callable[[], Mapping[str, Any]] | None = None,
) -> Built | None:
    """Write `runpacks/<run id>.zip`; None when it could not be done, which is counted and logged, never raised.

    Args:
        home: where ledgers and traces are, and where it goes.
        run_id: of a run whose ledger is kept, or `last`.
        trigger: bounded name of what asked: error, DEMAND or sensor.
        settings: those of this process.
        readiness: asked for the state of the server, where there is one.
    """
    try:
        with step("runpack.build", trigger=trigger) as current:
            run_id = canonical(home, run_id)
            data = pack(home, run_id, trigger, settings, readiness)
            path = _stored(home, run_id, data, settings.runpack_keep)
            current.set(size_bytes=len(data))
            current.event(RUNPACK_READY, run_id=run_id, size_bytes=len(data))
            level = logging.INFO if trigger == DEMAND else logging.WARNING  # who asked for it need not be told
            _log.log(level, "%s %s", RUNPACK_READY, run_id, extra={"run_id": run_id, "event": RUNPACK_READY})
        metrics.RUNPACKS.labels(trigger, "written").inc()
        metrics.RUNPACK_BYTES.observe(len(data))
        return Built(run_id, path, len(data))
    except Exception as error:  # whatever is wrong with the run, its record must not make it worse
        metrics.RUNPACKS.labels(trigger, "failed").inc()
        _log.warning("no runpack of run %s: %s", redacted(run_id, 40), redacted(str(error) or type(error).__name__))
        return None


def pack(
    home: Home, run_id: str, trigger: str, settings: Settings, readiness: Callable[[], Mapping[str, Any]] | None = None
) -> bytes:
    """The bytes of a runpack; raises `UnknownRun`."""
    report = RunReport.model_validate(_clean(run_report(home, run_id, Thresholds.of(settings)).model_dump()))
    day = day_of(report)
    row = lookup.find(home, [day], run_id, report.trace_id)
    lines = ledger.read(home.ledger, run_id)
    parts = {
        "report.json": report.model_dump_json(indent=1),
        "report.html": views.html(report),
        "ledger.jsonl": "".join(_json(_only(line, _LEDGER)) + "\n" for line in lines),
        "budgets.json": _json({"budgets": report.budgets, "gating": report.gating}, 1),
        "context.json": _json(_context(home, report, settings, readiness), 1),
        "log.txt": "".join(f"{line}\n" for line in logs.recent(run_id, _LOG_LINES)),
        "trace.json": _json(_only(row, _ROW), 1),
    }
    cut = {name: _cut(name, text) for name, text in parts.items()}
    meta = {
        "format": FORMAT,
        "run_id": run_id,
        "trace_id": report.trace_id,
        "trigger": trigger,
        "started_at": report.started_at,
        "stopped_because": report.stopped_because,
        "cut": sorted(name for name, text in parts.items() if len(text.encode()) > len(cut[name].encode())),
        "parts": sorted(cut),
    }
    return _zipped({"meta.json": _json(meta, 1), **cut})


def open_pack(home: Home, name: str) -> dict[str, Any]:
    """The parts of a runpack, by id or path: JSON parts parsed, the others as text.

    Raises:
        UnknownRun: there is none.
        InvalidRequest: it is not a runpack, or too large to be one of ours.
    """
    path = Path(name)
    if not path.is_file():
        try:
            path = home.runpacks / f"{uuid.UUID(name)}.zip"
        except ValueError:
            raise UnknownRun(f"there is no runpack {name[:100]}; give its id or its path") from None
    if not path.is_file():
        raise UnknownRun(f"there is no runpack of run {path.stem}; `codeintel telemetry runpack {path.stem}` makes one")
    if path.stat().st_size > MAX_BYTES:
        raise InvalidRequest(f"{path.name} is larger than {MAX_BYTES} bytes: not a runpack")
    try:
        with zipfile.ZipFile(path) as pack:
            found = {info.filename: _read(pack, info) for info in pack.infolist()}
    except (zipfile.BadZipFile, ValueError, EOFError) as error:
        raise InvalidRequest(f"{path.name} is not a runpack: {error}") from None
    if found.get("meta.json", {}).get("format") != FORMAT:
        raise InvalidRequest(f"{path.name} is not a runpack of format {FORMAT}")
    return found


def page(parts: Mapping[str, Any]) -> str:
    """A runpack as one HTML page: the report, then every other part."""
    report = RunReport.model_validate(parts["report.json"])
    return views.with_parts(report, {n: p for n, p in parts.items() if not n.startswith("report.")})


def _read(pack: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    if info.file_size > 2 * MAX_PART_BYTES:
        raise ValueError(f"{info.filename} is too large")
    text = pack.read(info).decode()
    return json.loads(text) if info.filename.endswith(".json") else text


def _stored(home: Home, run_id: str, data: bytes, keep: int) -> Path:
    home.runpacks.mkdir(parents=True, exist_ok=True)
    path = home.runpacks / f"{run_id}.zip"
    pending = path.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
    with _writing:
        try:
            pending.touch(mode=0o600)
            pending.write_bytes(data)
            pending.replace(path)
        finally:
            pending.unlink(missing_ok=True)
        kept = sorted(home.runpacks.glob("*.zip"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[keep:]:
            old.unlink(missing_ok=True)
    return path


def _context(
    home: Home, report: RunReport, settings: Settings, readiness: Callable[[], Mapping[str, Any]] | None
) -> dict[str, Any]:
    return {
        "settings": {name: getattr(settings, name) for name in SETTINGS},
        "versions": {"python": platform.python_version(), "system": platform.system(), **_versions(_PACKAGES)},
        "manifests": [_manifest(home, generation) for generation in report.generations],
        "readiness": _clean(readiness()) if readiness is not None else None,
    }


def _manifest(home: Home, generation: Mapping[str, str]) -> dict[str, Any]:
    try:
        folder = home.repository(generation.get("repo", "")).generation(generation["gen_id"])
        return _only(manifests.load(folder).model_dump(mode="json"), _MANIFEST)
    except (CodeIntelError, OSError, KeyError):
        return {"gen_id": generation.get("gen_id", ""), "problem": "its manifest cannot be read"}


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _only(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: _clean(values[key]) for key in keys if key in values}


def _clean(value: Any) -> Any:
    """A JSON value with every text in it redacted."""
    if isinstance(value, str):
        return redacted(value, _LONGEST_TEXT)
    if isinstance(value, Mapping):
        return {str(key): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, sort_keys=True, default=str, ensure_ascii=False)


def _cut(name: str, text: str) -> str:
    """At most the cap: whole last lines of what has lines, nothing of a JSON document that is too long."""
    if len(text.encode()) <= MAX_PART_BYTES:
        return text
    if name.endswith(".json"):
        return "{}"
    tail = text.encode()[-MAX_PART_BYTES:].decode("utf-8", "ignore")
    return tail.split("\n", 1)[-1]


def _zipped(parts: Mapping[str, str]) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as zipped:
        for name in sorted(parts):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            zipped.writestr(info, parts[name].encode("utf-8", "replace"))
    return buffer.getvalue()
