"""Each detector fires on its case, with evidence and a hint, and stays silent on a healthy run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from codeintel_core.home import Home
from codeintel_core.reports.detectors import DETECTORS, Thresholds, detect
from codeintel_core.reports.trends import Trend
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status
from tests.core.reports import samples
from tests.core.reports.samples import CANDIDATES, candidate

RUNBOOK = Path(__file__).parents[3] / "docs" / "runbook.md"
NARROW = {"scope.resolve": {"paths": 1}}


def _case(kind: str, changes: dict[str, Any], evidence: dict[str, Any], **row: Any) -> Any:
    return pytest.param(kind, changes, evidence, row, id=kind + "-" + "-".join([*changes, *row]))


CASES = [
    _case("fused_not_hydrated", {"hydrate.catalog": {"asked": 80, "found": 0}}, {"fused": 80, "hydrated": 0}),
    _case(
        "fused_not_hydrated", {"hydrate.catalog": {"ends": (Status.FAILED, "IOException")}, "rank.select": None},
        {"hydrate": "failed"}, candidates=[],
    ),
    _case(
        "channel_off", {"retrieve.sparse": {"ends": (Status.SKIPPED, "'shop' has no sparse index: pending")}},
        {"requested": "sparse", "reason": "'shop' has no sparse index: pending"},
    ),
    _case(
        "channel_off", {"retrieve.gather": {"ends": (Status.FAILED, "channel-unavailable")}, "retrieve.sparse": None},
        {"requested": "sparse", "reason": "retrieve.gather failed: channel-unavailable"},
        mode="sparse", status="error", error="channel-unavailable", candidates=[],
    ),
    _case(
        "channel_off", {"query.budget": {"feedback": True}, "retrieve.lexical": {"ends": (Status.SKIPPED, "no JVM")}},
        {"requested": "rm3", "step": "retrieve.lexical", "reason": "skipped: no JVM"},
    ),
    _case(
        "channel_off",
        {"query.budget": {"feedback": True}, "gate.secondary": {"feedback": True},
         "retrieve.feedback": {"ends": (Status.TIMED_OUT, "ran past its deadline")}},
        {"requested": "rm3", "step": "retrieve.feedback"},
    ),
    _case(
        "dense_disabled", {"retrieve.dense": {"ends": (Status.SKIPPED, "no vectors")}},
        {"reason": "no vectors", "contract_mismatch": False},
    ),
    _case(
        "dense_disabled", {"retrieve.dense": {"ends": (Status.FAILED, "another embedding contract")}},
        {"contract_mismatch": True},
    ),
    _case(
        "gpu_fell_back", {"faiss.primary": {"device": "cpu", "device_reason": "no device"}},
        {"device": "cpu", "reason": "no device"},
    ),
    _case(
        "remote_embedding_slow", {"embed.query": {"model": "m", "remote": True, "slept": True}}, {"model": "m"}
    ),
    _case("vague_and_shallow", {"query.profile": {"vague": True}}, {"depth": 100}),
    _case(
        "channel_timed_out", {"retrieve.dense": {"ends": (Status.TIMED_OUT, "late")}}, {"channels": "dense"}
    ),
    _case("rerank_failed", {"rerank": {"ends": (Status.FAILED, "cut")}}, {"reason": "failed: cut"}),
    _case("rerank_no_effect", {"rerank": {"moved": 0, "candidates": 4}}, {"candidates": 4}),
    _case(
        "one_file", {"rank.select": {"hits": 3, "files": 1}}, {"hits": 3},
        candidates=[candidate("a.py", dense=n, cited=True) for n in (1, 2, 3)],
    ),
    _case("stale_generation", {"index.freshness": {"commits_behind": 7}}, {"commits_behind": 7}),
    _case("stale_generation", {"index.freshness": {"minutes_behind": 3.5}}, {"minutes_behind": 3.5}),
    _case("compaction_due", {"index.freshness": {"secondary_ratio": 0.2}}, {"ratio": 0.2, "threshold": 0.05}),
    _case("citations_dropped", {"cite.verify": {"dropped": 1}}, {"dropped": 1}, citations_dropped=1),
    _case(
        "no_citations", {}, {"hits": 4},
        candidates=[one | {"cited": False} for one in CANDIDATES], status="ok",
    ),
    _case(
        "synthesis_fell_back",
        {"synthesize": {"writer": "chat", "finish": "truncated", "ends": (Status.FAILED, "the connection broke")}},
        {"finish": "truncated"},
    ),
    _case("prompt_truncated", {"prompt.build": {"cut": 1, "left_out": 2, "tokens": 900}}, {"cut": 1, "left_out": 2}),
    _case(
        "scope_filtered_all", NARROW | {"rank.select": {"hits": 0, "files": 0}}, {"paths": 1},
        candidates=[], status="empty",
    ),
]  # fmt: skip


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_healthy_run_has_no_findings(home: Home) -> None:
    assert samples.report(home).findings == []


@pytest.mark.parametrize(("kind", "changes", "evidence", "row"), CASES)
def test_a_detector_sees_its_case(
    home: Home, kind: str, changes: dict[str, Any], evidence: dict[str, Any], row: dict[str, Any]
) -> None:
    report = samples.report(home, changes, **row)
    if kind == "remote_embedding_slow":  # a duration nobody sleeps for
        slow = [s.model_copy(update={"duration_ms": 90.0}) if s.kind == "embed.query" else s for s in report.steps]
        report = report.model_copy(update={"steps": slow})
    found = {finding.kind: finding for finding in detect(report, Trend({}), Thresholds())}
    assert kind in found, found
    assert {key: found[kind].evidence[key] for key in evidence} == evidence
    assert found[kind].message
    assert found[kind].hint


def test_tiny_batches_of_a_build(home: Home) -> None:
    few = {"build.embeddings": {"computed": 500, "batch_tokens": 128, "seconds": 9.0}}
    assert samples.kinds(samples.report(home, few, operation="build")) == {"tiny_batches"}
    usual = {"build.embeddings": {"computed": 500, "batch_tokens": 512}}
    assert samples.kinds(samples.report(home, usual, operation="build")) == set()


def test_a_stage_slower_than_its_own_recent_p95(home: Home) -> None:
    report = samples.report(home)
    slow = [s.model_copy(update={"duration_ms": 90.0}) if s.kind == "fuse.scores" else s for s in report.steps]
    report = report.model_copy(update={"steps": slow})
    (found,) = detect(report, Trend({"fuse.scores": 5.0, "rerank": 1_000.0}), Thresholds())
    assert found.kind == "slow_stage"
    assert found.evidence == {"step": "fuse.scores", "duration_ms": 90.0, "recent_p95_ms": 5.0}
    assert detect(report, Trend({"fuse.scores": 80.0}), Thresholds()) == []


def test_a_run_that_died(home: Home) -> None:
    report = samples.report(home).model_copy(update={"status": "died"})
    assert "run_died" in {finding.kind for finding in detect(report, Trend({}), Thresholds())}


def test_every_detector_has_a_case_here() -> None:
    elsewhere = {"tiny_batches", "slow_stage", "run_died"}
    assert {case.values[0] for case in CASES} | elsewhere == set(DETECTORS)


def test_the_runbook_has_an_entry_for_each_detector_and_no_other() -> None:
    entries = re.findall(r"^### `(\w+)`$", RUNBOOK.read_text(), re.MULTILINE)
    assert sorted(entries) == sorted(DETECTORS)
    assert len(entries) == len(set(entries))


def test_thresholds_follow_the_settings() -> None:
    assert Thresholds.of(Settings(compaction_ratio=0.5, candidates=200)) == Thresholds(
        compaction_ratio=0.5, vague_depth=300
    )
