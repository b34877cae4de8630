"""Results are stored beside what other runs measured, a worse ratio is found, and the page says what is stored."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import goals, history, machine, page, results
from benchmarks.goals import GOALS, Goal
from benchmarks.machine import Circumstances
from benchmarks.results import Table
from benchmarks.rows import Row
from benchmarks.subjects import SUBJECTS, in_order
from benchmarks.workplace import Workplace

WHEN = Circumstances("2026-11-20T10:00:00Z", "abc", "2 cores", 0.5, 0.1)
LATER = replace(WHEN, at="2026-11-21T10:00:00Z", commit="def")
BY_HAND = {"goals", "changes", "replay", "drills"}


def row(measure: str = "search", value: float = 2.0, ratio: float | None = None, **more: str) -> Row:
    return Row("dense 10", measure, value, "ms", ratio=ratio, **more)


def rendered(name: str, folder: Path) -> str:
    return page.render(f"Before.\n<!-- benchmark: {name} -->\nold\n<!-- end -->\nAfter.\n", folder)


def test_the_page_is_what_the_stored_results_say() -> None:
    text = page.PAGE.read_text()
    assert page.render(text) == text, "python -m benchmarks --write-docs"


def test_every_subject_has_its_section_and_every_section_its_subject() -> None:
    assert sorted(page.sections(page.PAGE.read_text())) == sorted(SUBJECTS.keys() | BY_HAND)


def test_every_goal_is_of_a_subject_that_is_measured() -> None:
    assert {goal.file for goal in GOALS} <= SUBJECTS.keys() | BY_HAND


def test_a_run_replaces_its_tables_and_leaves_the_others(tmp_path: Path) -> None:
    results.store("dense", "", WHEN, [row(), Row("dense 20", "search", 5.0)], tmp_path)
    results.store("dense", "", LATER, [row(value=3.0)], tmp_path)
    results.store("dense", "click", LATER, [row(value=4.0)], tmp_path)
    found = [(table.subject, table.repo, table.when, table.rows[0].value) for table in results.load("dense", tmp_path)]
    assert found == [("dense 10", "", LATER, 3.0), ("dense 20", "", WHEN, 5.0), ("dense 10", "click", LATER, 4.0)]


def test_stored_rows_come_back_as_they_were(tmp_path: Path) -> None:
    rows = (row(ratio=1.5, note="a note", line="l", column="c"), Row("dense 10", "kind", "skipped"))
    table = Table("dense 10", "click", WHEN, rows, "copied")
    results.save("dense", [table], tmp_path)
    assert results.load("dense", tmp_path) == [table]


def test_where_it_was_measured_names_no_host() -> None:
    with machine.Clock() as clock:
        found = clock.circumstances()
    assert socket.gethostname() not in f"{found.machine} {found.commit}"
    assert "cores" in found.machine
    assert found.others is None  # of a moment too short to tell


@pytest.mark.parametrize(
    ("ratios", "is_worse"),
    [([1.0], False), ([1.0, 1.2, 0.9], False), ([1.0, 1.2, 0.79], True), ([0.1, 1.0, 1.0, 0.7], True)],
)
def test_a_ratio_far_below_the_median_of_its_former_runs_is_a_regression(
    ratios: list[float], is_worse: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ratio in ratios:
        results.store("dense", "", WHEN, [row(ratio=ratio), row("no peer")], tmp_path)
    assert history.show("dense", tmp_path) == int(is_worse)
    out = capsys.readouterr().out
    assert ("REGRESSION" in out) == is_worse
    assert "no peer" not in out


def test_machines_repositories_and_subjects_have_trends_of_their_own(tmp_path: Path) -> None:
    results.store("dense", "", WHEN, [row(ratio=2.0)], tmp_path)
    results.store("dense", "", replace(WHEN, machine="64 cores"), [row(ratio=1.0)], tmp_path)
    results.store("dense", "click", WHEN, [row(ratio=0.5)], tmp_path)
    assert [trend.ratios for trend in history.trends("", tmp_path)] == [(2.0,), (1.0,), (0.5,)]
    assert not list(history.trends("queries", tmp_path))


def test_the_share_of_a_goal_is_shown_and_not_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ratio in (1.0, 0.1):  # of a busy machine, perhaps
        results.store("queries", "", WHEN, [Row("query", "p50", 9.0, "ms", "goal 10", ratio)], tmp_path)
    assert history.show("queries", tmp_path) == 0
    assert "query: p50: 1 0.10; median before 1; now 9 ms beside goal 10" in capsys.readouterr().out


def test_a_section_lists_rows_and_leaves_out_columns_that_nobody_fills(tmp_path: Path) -> None:
    results.store("dense", "click", WHEN, [row(ratio=1.5), row("a|b", 1234.5)], tmp_path)
    assert rendered("dense", tmp_path) == (
        "Before.\n<!-- benchmark: dense -->\n"
        "*click: 2026-11-20; abc; 2 cores; load 0.5, others 0.10*  \n\n"
        "| measure | value | ratio |\n|---|---|---|\n| search | 2 ms | 1.50 |\n| a\\|b | 1,234 ms |  |\n"
        "<!-- end -->\nAfter.\n"
    )


def test_rows_of_one_line_and_column_share_a_cell(tmp_path: Path) -> None:
    rows = [row("one", 1.0, line="ours", column="rate"), row("two", 2.0, line="ours", column="rate")]
    results.store("dense", "", WHEN, [*rows, row("three", 3.0, line="ours", column="p95"), row("memory")], tmp_path)
    text = rendered("dense", tmp_path)
    assert "|  | rate | p95 |\n|---|---|---|\n| ours | 1 / 2 | 3 |\n" in text
    assert "| memory | 2 ms |" in text


def test_several_repositories_have_a_column_each(tmp_path: Path) -> None:
    for repo in ("click", "gson"):
        rows = [Row("build", "files", 5.0), Row("build", "speed", 4.0, "MB", "bare 8", 0.5)]
        results.store("builds", repo, WHEN, rows, tmp_path)
    text = rendered("builds", tmp_path)
    assert "*click, gson: 2026-11-20; abc; 2 cores; load 0.5, others 0.10*" in text
    assert "|  | click | gson |\n|---|---|---|\n| files | 5 | 5 |\n" in text
    assert "| speed | 4 MB (bare 8: 0.50) | 4 MB (bare 8: 0.50) |" in text


def test_what_was_never_measured_says_so(tmp_path: Path) -> None:
    assert "Not measured yet." in rendered("dense", tmp_path)
    assert "| not measured yet | |" in goals.table(tmp_path)


def test_a_goal_judges_the_newest_row(tmp_path: Path) -> None:
    goal = Goal("stage", "2 ms", "dense", "dense 10", "sea", most=2.0)
    for repo, when, value in (("a", LATER, 3.0), ("b", WHEN, 1.0)):
        results.store("dense", repo, when, [row(value=value)], tmp_path)
    found = goal.newest(tmp_path)
    assert found is not None
    assert (found[0].repo, goal.is_met(found[1])) == ("a", False)
    assert replace(goal, most=3.0).is_met(found[1])
    assert not replace(goal, most=None, least_ratio=1.0).is_met(row(ratio=0.9))
    assert replace(goal, most=None, least_ratio=1.0).is_met(row(ratio=1.1))


def test_a_subject_that_fails_keeps_no_other_from_being_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(subject: str, _: Workplace) -> Iterator[Row]:
        yield Row(subject, "first", 1.0)
        if subject == "dense":
            raise SystemExit("the server did not start")

    monkeypatch.setattr(command, "measure", measure)
    rows: list[Row] = []
    at = Workplace(tmp_path, tmp_path, "click", (10,))
    assert command.measure_all(["dense", "queries"], at, rows, tmp_path) == ["dense"]
    assert [row.subject for row in rows] == ["dense", "queries"]
    assert not results.load("dense", tmp_path)
    assert [table.repo for table in results.load("queries", tmp_path)] == ["click"]


def test_what_needs_a_build_gets_one() -> None:
    assert in_order(["queries"]) == ["builds", "queries"]
    assert in_order(["growth", "dense"]) == ["dense", "growth"]
    assert in_order([]) == list(SUBJECTS)
