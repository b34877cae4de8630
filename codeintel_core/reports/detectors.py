"""Detectors: small rules over a run report. A new one is a function here, a line in `DETECTORS`, a test, and an entry
of the same name in docs/runbook.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from codeintel_core.generations.manifest import NOT_CONFIGURED
from codeintel_core.reports.coverage import CHANNELS, why
from codeintel_core.reports.model import OPEN, Finding, RunReport, Scalar
from codeintel_core.reports.trends import Trend
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on something stands out."""

    compaction_ratio: float = 0.05
    slow_factor: float = 1.5
    slow_least_ms: float = 20.0
    tiny_batch_tokens: int = 128
    many_texts: int = 100
    vague_depth: int = 150
    local_round_trip_ms: float = 20.0

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """Thresholds under the settings."""
        return cls(compaction_ratio=settings.compaction_ratio, vague_depth=int(1.5 * settings.candidates))


Evidence = dict[str, Scalar]
Rule = Callable[[RunReport, Trend, Thresholds], tuple[str, Evidence] | None]


def run_died(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """A step began and never ended."""
    left = [step for step in report.steps if step.status == OPEN]
    if report.status != "died":
        return None
    where = left[-1].kind if left else "between two steps"
    return f"the process died in {where}", {"step": where, "open_steps": len(left)}


def fused_not_hydrated(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """Candidates were fused and none of them became a chunk."""
    fused = report.value("fuse.scores", "candidates")
    if not isinstance(fused, int) or fused == 0:
        return None
    found, cell = report.value("hydrate.catalog", "found"), report.coverage["hydrate"]
    if cell.state == "ran" and found != 0:
        return None
    if cell.state == "ran" and _is_narrowed(report):
        return None  # that is `scope_filtered_all`
    return (
        f"{fused} candidates were fused but none was hydrated",
        {"fused": fused, "hydrated": found or 0, "hydrate": cell.state, "reason": cell.reason},
    )


def channel_off(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """Sparse retrieval or RM3 was asked for, and did not run."""
    return _sparse_off(report) or _rm3_off(report)


def _sparse_off(report: RunReport) -> tuple[str, Evidence] | None:
    """A sparse model is configured or the mode names it, and there was nothing to search."""
    steps = [step for step in report.of_kind("retrieve.sparse") if step.reason != NOT_CONFIGURED]
    if report.operation == "build":
        return None
    if steps and steps[-1].status == Status.SKIPPED:
        reason = steps[-1].reason
    elif report.asked.get("mode") == "sparse" and report.outcome.get("error") == "channel-unavailable":
        reason = report.stopped_because or "channel-unavailable"
    else:
        return None
    return "sparse retrieval was asked for but its channel is off", {
        "requested": "sparse", "channel": "sparse", "reason": reason,
    }  # fmt: skip


def _rm3_off(report: RunReport) -> tuple[str, Evidence] | None:
    """The budget asked for feedback: the words it starts from are missing, or its own search did not complete."""
    if report.value("query.budget", "feedback") is not True:
        return None
    second, words = report.of_kind("retrieve.feedback"), report.of_kind("retrieve.lexical")
    missing = [step for step in (second or words)[-1:] if step.status != Status.COMPLETED]
    if not missing:
        return None  # it ran, or the gate said that it was not needed
    return "RM3 was asked for but did not run", {
        "requested": "rm3", "channel": "lexical", "step": missing[0].kind, "reason": why(missing[0]),
    }  # fmt: skip


def dense_disabled(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """The dense channel could not be used: no vectors, no encoder, or another embedding contract."""
    cell = report.coverage.get("dense")
    if report.operation == "build" or cell is None or cell.state not in ("failed", "skipped"):
        return None
    step = next(iter(report.of_kind("retrieve.dense")), None)
    if step is None or step.status == Status.TIMED_OUT:
        return None
    is_mismatch = "contract" in f"{cell.reason} {step.detail}"
    said = "the embedding contracts of query and index differ" if is_mismatch else "the dense channel did not run"
    return said, {"status": step.status, "reason": step.reason, "contract_mismatch": is_mismatch}


def gpu_fell_back(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """The primary was wanted on a GPU and is searched on the CPU."""
    reason = report.value("faiss.primary", "device_reason")
    if not reason:
        return None
    return "the GPU clone failed, the CPU index answers", {
        "device": report.value("faiss.primary", "device"), "reason": reason,
    }  # fmt: skip


def tiny_batches(report: RunReport, _: Trend, at: Thresholds) -> tuple[str, Evidence] | None:
    """Many texts were embedded in batches of a few."""
    computed, tokens = report.value("build.embeddings", "computed"), report.value("build.embeddings", "batch_tokens")
    if not isinstance(computed, int) or not isinstance(tokens, int):
        return None
    if computed < at.many_texts or tokens > at.tiny_batch_tokens:
        return None
    return f"{computed} texts were embedded in batches of {tokens} tokens", {
        "computed": computed, "batch_tokens": tokens, "seconds": report.value("build.embeddings", "seconds"),
    }  # fmt: skip


def remote_embedding_slow(report: RunReport, _: Trend, at: Thresholds) -> tuple[str, Evidence] | None:
    """A query was embedded over HTTP, and the round trip cost more than the embedded model would."""
    for step in report.of_kind("embed.query"):
        duration_ms = step.duration_ms or 0.0
        if step.attributes.get("remote") is True and duration_ms > at.local_round_trip_ms:
            return f"embedding the query over HTTP took {duration_ms:.0f} ms", {
                "model": step.attributes.get("model"), "duration_ms": duration_ms,
                "in_process_ms": at.local_round_trip_ms,
            }  # fmt: skip
    return None


def vague_and_shallow(report: RunReport, _: Trend, at: Thresholds) -> tuple[str, Evidence] | None:
    """A vague question looked no deeper than a clear one."""
    depth = report.value("query.budget", "depth")
    if report.value("query.profile", "vague") is not True or not isinstance(depth, int) or depth >= at.vague_depth:
        return None
    return f"the question is vague and each channel looked at {depth} candidates only", {
        "depth": depth, "wanted": at.vague_depth,
    }  # fmt: skip


def channel_timed_out(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """A channel ran past its deadline and was left out."""
    late = [name for name in CHANNELS if (c := report.channels.get(name)) and c.status == Status.TIMED_OUT]
    if not late:
        return None
    return f"{', '.join(late)} ran past the deadline", {
        "channels": ", ".join(late), "retrieval_budget_ms": report.budgets.get("retrieval_budget_ms"),
    }  # fmt: skip


def rerank_failed(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """The reranker was asked and gave no order."""
    cell = report.coverage.get("rerank")
    if cell is None or cell.state != "failed":
        return None
    return "the reranker did not answer; hits keep the order of fusion", {"reason": cell.reason}


def rerank_no_effect(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """The reranker cost time and changed nothing."""
    for step in report.of_kind("rerank"):
        if step.status == Status.COMPLETED and step.attributes.get("moved") == 0:
            return "the reranker moved no hit", {
                "candidates": step.attributes.get("candidates"), "duration_ms": step.duration_ms,
            }  # fmt: skip
    return None


def one_file(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """Every hit is of one file."""
    hits = report.outcome.get("hits", report.value("rank.select", "hits"))
    files = report.outcome.get("files", report.value("rank.select", "files"))
    if not isinstance(hits, int) or hits < 3 or files != 1:
        return None
    return f"all {hits} hits are of one file", {"hits": hits, "files": 1}


def stale_generation(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """What answered lacks commits of its source."""
    commits, minutes = (
        report.value("index.freshness", "commits_behind"),
        report.value("index.freshness", "minutes_behind"),
    )
    if not commits and not minutes:
        return None
    return f"the index is {commits or 'an unknown number of'} commits behind", {
        "commits_behind": commits, "minutes_behind": minutes,
    }  # fmt: skip


def compaction_due(report: RunReport, _: Trend, at: Thresholds) -> tuple[str, Evidence] | None:
    """Secondary and tombstones have outgrown the primary's share."""
    ratio = report.value("index.freshness", "secondary_ratio")
    if not isinstance(ratio, int | float) or ratio <= at.compaction_ratio:
        return None
    return f"(secondary + tombstones) / primary is {ratio:.1%}", {"ratio": ratio, "threshold": at.compaction_ratio}


def citations_dropped(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """Citations were dropped: their text differs from the pinned source, or they name no snippet."""
    dropped = report.outcome.get("citations_dropped", report.value("cite.verify", "dropped"))
    if not isinstance(dropped, int) or dropped == 0:
        return None
    return f"{dropped} citations were dropped by verification", {
        "dropped": dropped, "verified": report.outcome.get("citations_verified", 0),
    }  # fmt: skip


def no_citations(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """An answer was given and cites nothing."""
    if report.operation != "answer" or report.outcome.get("status") != "ok" or report.outcome.get("cited") != 0:
        return None
    return "the answer cites nothing", {"model": report.outcome.get("model"), "hits": report.outcome.get("hits")}


def synthesis_fell_back(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """The chat model was asked and did not write the answer to its end."""
    for step in report.of_kind("synthesize"):
        if step.attributes.get("writer") == "chat" and step.status in (Status.FAILED, Status.TIMED_OUT):
            return "the chat model did not finish the answer", {
                "status": step.status, "reason": why(step), "finish": step.attributes.get("finish"),
            }  # fmt: skip
    return None


def slow_stage(report: RunReport, trend: Trend, at: Thresholds) -> tuple[str, Evidence] | None:
    """A stage took clearly longer than its own recent p95."""
    worst: tuple[float, str, float] | None = None
    for step in report.steps:
        usual_ms, took_ms = trend.p95_ms.get(step.kind), step.duration_ms or 0.0
        if usual_ms is None or took_ms < usual_ms + at.slow_least_ms or took_ms < usual_ms * at.slow_factor:
            continue
        if worst is None or took_ms - usual_ms > worst[0]:
            worst = (took_ms - usual_ms, step.kind, took_ms)
    if worst is None:
        return None
    over_ms, kind, took_ms = worst
    return f"{kind} took {took_ms:.0f} ms, its recent p95 is {took_ms - over_ms:.0f} ms", {
        "step": kind, "duration_ms": took_ms, "recent_p95_ms": round(took_ms - over_ms, 3),
    }  # fmt: skip


def prompt_truncated(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """Snippets were cut or left out to fit the model's context."""
    cut, left_out = report.value("prompt.build", "cut") or 0, report.value("prompt.build", "left_out") or 0
    if not cut and not left_out:
        return None
    return f"the prompt was truncated: {cut} snippets cut, {left_out} left out", {
        "cut": cut, "left_out": left_out, "tokens": report.value("prompt.build", "tokens"),
    }  # fmt: skip


def scope_filtered_all(report: RunReport, _: Trend, __: Thresholds) -> tuple[str, Evidence] | None:
    """The scope left nothing."""
    if report.operation == "build" or not _is_narrowed(report) or report.coverage["gather"].state == "absent":
        return None
    hits = report.outcome.get("hits", report.value("rank.select", "hits"))
    if hits != 0:
        return None
    return "nothing inside the scope matched", {
        key: report.value("scope.resolve", key) for key in ("repos", "paths", "languages", "leaves_out")
    }


def _is_narrowed(report: RunReport) -> bool:
    scope = report.asked.get("scope")
    if isinstance(scope, str):
        try:
            given = json.loads(scope)
        except ValueError:
            given = {}
        if given.get("paths") or given.get("languages") or not given.get("include_tests", True):
            return True
    return any(report.value("scope.resolve", key) for key in ("paths", "languages", "leaves_out"))


DETECTORS: dict[str, tuple[Rule, str]] = {
    "run_died": (run_died, "Look for an OOM kill or a crash at the time of the step; a build is safe to run again."),
    "fused_not_hydrated": (fused_not_hydrated, "Check catalog.duckdb of the generation: `codeintel generations`."),
    "dense_disabled": (dense_disabled, "Compare the embedding settings with the generation's contract, then build."),
    "channel_timed_out": (channel_timed_out, "Look at its p95; under load raise CODEINTEL_RETRIEVAL_BUDGET_MS."),
    "channel_off": (channel_off, "Build the index that the channel needs, or stop asking for it."),
    "rerank_failed": (rerank_failed, "Check the rerank endpoint: /readyz names what is wrong with it."),
    "synthesis_fell_back": (synthesis_fell_back, "Check the chat endpoint: /readyz names what is wrong with it."),
    "citations_dropped": (citations_dropped, "Verify the generation's digests; rebuild it if a file was changed."),
    "no_citations": (no_citations, "Do not rely on the answer; try another model or a narrower question."),
    "scope_filtered_all": (scope_filtered_all, "Widen the scope's paths or languages."),
    "prompt_truncated": (prompt_truncated, "Lower `limit`, or serve the model with a longer context."),
    "slow_stage": (slow_stage, "Compare with its panel in Grafana; look for load, a cold cache, a slow disk."),
    "stale_generation": (stale_generation, "Run `codeintel build`, or start the git_head sensor."),
    "compaction_due": (compaction_due, "Run `codeintel compact`, or start the needs_compaction sensor."),
    "gpu_fell_back": (gpu_fell_back, "Install the extra `gpu` or set CODEINTEL_DENSE_DEVICE=cpu."),
    "remote_embedding_slow": (
        remote_embedding_slow, "Unset CODEINTEL_EMBED_BASE_URL: the embedded model takes milliseconds."
    ),
    "tiny_batches": (tiny_batches, "Raise CODEINTEL_EMBEDDING_BATCH_TOKENS."),
    "vague_and_shallow": (vague_and_shallow, "Raise CODEINTEL_CANDIDATES, or ask with a name or a path."),
    "rerank_no_effect": (rerank_no_effect, "If it is always so, leave the reranker out and save its time."),
    "one_file": (one_file, "Lower CODEINTEL_MAX_PER_FILE if other files should show."),
}  # fmt: skip
"""Kind -> (rule, hint), most severe first."""


def detect(report: RunReport, trend: Trend, thresholds: Thresholds) -> list[Finding]:
    """What the rules notice in a report, most severe first."""
    found = []
    for kind, (rule, hint) in DETECTORS.items():
        noticed = rule(report, trend, thresholds)
        if noticed is not None:
            found.append(Finding(kind=kind, message=noticed[0], evidence=noticed[1], hint=hint))
    return found
