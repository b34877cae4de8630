"""The run report says what each stage did: of healthy, degraded, failed and killed runs, requests and builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from codeintel_core.errors import UnknownRun
from codeintel_core.home import Home
from codeintel_core.reports import trends, views
from codeintel_core.reports.run_report import report_of, run_report
from codeintel_core.telemetry import Status, ledger, run, step
from tests.core.reports import samples


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_healthy_answer(home: Home) -> None:
    report = samples.report(home)
    assert (report.status, report.stopped_because, report.operation) == ("ok", "", "answer")
    assert report.duration_ms is not None
    assert [step.number for step in report.steps] == list(range(1, len(samples.HEALTHY) + 1))
    states = {name: cell.state for name, cell in report.coverage.items()}
    assert states == {
        "embed": "ran", "dense": "ran", "lexical": "ran", "symbols": "skipped", "sparse": "skipped",
        "exact": "absent", "regex": "absent", "gather": "ran",
        "fuse": "ran", "hydrate": "ran", "cocitation": "skipped", "rerank": "ran", "synthesize": "ran", "cite": "ran",
    }  # fmt: skip
    dense, lexical = report.channels["dense"], report.channels["lexical"]
    assert (dense.candidates, dense.contributed, dense.alone, dense.cited) == (40, 3, 2, 1)
    assert (lexical.candidates, lexical.contributed, lexical.alone, lexical.cited) == (60, 2, 1, 1)
    assert report.generations == [{"repo": "shop", "gen_id": "g1", "commit": "c1", "dagster_run_id": "d1"}]
    assert report.repos == {"shop"}
    assert report.budgets["retrieval_budget_ms"] == 400
    assert report.gating["query.budget.reason"] == "usual depth"
    assert (report.outcome["hits"], report.outcome["files"], report.outcome["cited"]) == (4, 3, 1)
    assert report.asked["surface"] == "rest"


def test_what_failed_is_named_and_what_stood_in_is_degraded(home: Home) -> None:
    report = samples.report(
        home,
        {"retrieve.dense": {"ends": (Status.FAILED, "model-unavailable", "cannot be reached")}},
        limits=["dense channel failed"],
    )
    assert report.stopped_because == "retrieve.dense failed: model-unavailable: cannot be reached"
    assert report.coverage["dense"].state == "failed"
    assert (report.coverage["gather"].state, report.coverage["gather"].reason) == ("degraded", "without dense")
    assert report.status == "degraded"
    assert report.warnings == ["dense channel failed"]


def test_a_cached_search_says_that_nothing_was_searched(home: Home) -> None:
    with run("search", home.ledger) as current:
        step("cache.results", result="hit", hits=3).end(Status.COMPLETED)
    report = run_report(home, current.run_id)
    assert report.coverage["dense"].reason == "the result was in the cache"
    assert report.coverage["synthesize"].state == "skipped"


def test_steps_know_their_depth(home: Home) -> None:
    with run("search", home.ledger) as current, step("retrieve.gather"), step("retrieve.dense"), step("embed.query"):
        pass
    assert [(s.kind, s.depth) for s in run_report(home, current.run_id).steps] == [
        ("retrieve.gather", 0), ("retrieve.dense", 1), ("embed.query", 2)]  # fmt: skip


def test_a_killed_process_has_a_report(home: Home) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from codeintel_core.telemetry import run, step\n"
        "with run('build', Path(sys.argv[1])):\n"
        "    with step('build.plan'): pass\n"
        "    with step('build.dense'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(home.ledger)], check=False)
    report = run_report(home)
    assert (report.status, report.duration_ms) == ("died", None)
    assert report.stopped_because == "build.dense open: the process died here"
    assert report.coverage["plan"].state == "ran"
    assert report.coverage["dense"].state == "failed"
    assert report.coverage["publish"].state == "absent"
    assert "run_died" in samples.kinds(report)


def test_a_dagster_run_is_several_sections_of_one_run(home: Home) -> None:
    run_id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    for kind in ("build.plan", "build.chunks", "build.publish"):
        with run("build", home.ledger, run_id=run_id), step(kind, repo="shop"):
            pass
    home.failures.mkdir()
    (home.failures / f"{run_id}.json").write_text(json.dumps({"message": "a check failed"}))
    report = run_report(home, run_id)
    assert [s.kind for s in report.steps] == ["build.plan", "build.chunks", "build.publish"]
    assert report.steps[0].start_ms <= report.steps[1].start_ms <= report.steps[2].start_ms
    assert report.repos == {"shop"}
    assert report.failure == {"message": "a check failed"}


def test_a_reused_run_id_is_the_last_request(home: Home) -> None:
    run_id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    for kind in ("query.profile", "query.budget"):
        with run("search", home.ledger, run_id=run_id), step(kind):
            pass
    assert [s.kind for s in run_report(home, run_id).steps] == ["query.budget"]


def test_a_lazy_run_leaves_nothing_without_a_step(home: Home) -> None:
    with run("http", home.ledger, is_lazy=True):
        pass
    assert not home.ledger.exists()
    with run("http", home.ledger, is_lazy=True) as current, step("files.read"):
        pass
    assert [s.kind for s in run_report(home, current.run_id).steps] == ["files.read"]


def test_torn_and_foreign_lines_are_counted_and_no_more(home: Home) -> None:
    run_id = samples.record(home)
    (path,) = ledger.find(home.ledger, run_id)
    with path.open("ab") as file:
        file.write(b'{"event": "end", "section": "nobody"}\n[1]\n{"no": 1}\n{"event": "be')
    report = run_report(home, run_id)
    assert report.status == "ok"
    assert report.warnings == ["2 lines of the ledger could not be read"]


@pytest.mark.parametrize("run_id", ["", "x", "../../etc/passwd", "*", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "\0"])
def test_a_run_that_is_not_kept(home: Home, run_id: str) -> None:
    with pytest.raises(UnknownRun):
        run_report(home, run_id)


def test_the_last_run_of_an_empty_home(home: Home) -> None:
    with pytest.raises(UnknownRun, match="no run is recorded"):
        run_report(home)


def test_a_run_in_this_process_needs_no_file(home: Home) -> None:
    with run("search", None) as current:
        step("retrieve.dense").end(Status.TIMED_OUT, "late")
        found = report_of(current)
    assert samples.kinds(found) == {"channel_timed_out"}


EVIL = "<script>alert(1)</script> [x](http://evil) `\n| a | \x1b[31m"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)


def test_views_show_everything_and_run_nothing(home: Home) -> None:
    report = samples.report(
        home, {"retrieve.dense": {"ends": (Status.FAILED, EVIL), "hits": 0, "note": EVIL}}, limits=[EVIL]
    )
    page = views.html(report)
    parser = _Tags()
    parser.feed(page)
    assert parser.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "h2", "table", "tr", "th", "td",
                           "span", "div", "p"}  # fmt: skip
    assert "<script" not in page
    assert "default-src 'none'" in page
    text = views.markdown(report)
    assert "<script" not in text
    assert "](http" not in text
    assert "\x1b" not in text
    for row in re.findall(r"^\| .*$", text, re.MULTILINE):
        assert not re.search(r"\| a \|", row)
    for shown in (page, text):
        assert report.run_id in shown
        assert all(
            kind in shown.replace("\\_", "_") for kind in ("retrieve.dense", "coverage".title(), "dense_disabled")
        )


def test_trends_are_of_other_runs_and_need_samples(home: Home) -> None:
    trends._known.clear()
    for _ in range(trends.MIN_SAMPLES):
        samples.record(home)
    last = samples.record(home)
    found = trends.recent_trend(home.ledger, except_run=last)
    assert found.p95_ms.keys() == {kind for kind, facts in samples.HEALTHY.items() if "ends" not in facts}
    trends._known.clear()
    assert trends.recent_trend(Home(home.root / "other").ledger).p95_ms == {}


@pytest.mark.parametrize(("values", "p95"), [([1.0], 1.0), (list(range(1, 21)), 19), (list(range(1, 101)), 95)])
def test_p95(values: list[float], p95: float) -> None:
    assert trends.p95(values) == p95
