"""Steps: however a block is left there is exactly one record with the right status, and telemetry breaks nothing."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import subprocess
import sys
import threading
import uuid
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import pytest
from opentelemetry import trace

from codeintel_core.errors import DeadlineExceeded, UnknownFile
from codeintel_core.telemetry import Run, Status, Step, current_run, ledger, metrics, note, propagation, run, step
from codeintel_core.telemetry.ledger import Ledger
from codeintel_core.telemetry.runs import well_formed_run_id


def _lines(folder: Path) -> list[dict[str, object]]:
    (path,) = ledger.newest(folder, 2)
    return ledger.read(folder, path.stem)


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (None, Status.COMPLETED, ""),
        (DeadlineExceeded("fusion ran past its deadline"), Status.TIMED_OUT, "fusion ran past its deadline"),
        (TimeoutError("slow"), Status.TIMED_OUT, "slow"),
        (asyncio.CancelledError(), Status.CANCELLED, "CancelledError"),
        (KeyboardInterrupt(), Status.CANCELLED, "KeyboardInterrupt"),
        (GeneratorExit(), Status.CANCELLED, "GeneratorExit"),
        (UnknownFile("/secret/path"), Status.FAILED, "unknown-file"),
        (ValueError("secret"), Status.FAILED, "ValueError"),
        (SystemExit(1), Status.FAILED, "SystemExit"),
    ],
)
def test_the_status_follows_from_how_the_block_is_left(
    tmp_path: Path, error: BaseException | None, status: Status, reason: str
) -> None:
    with run("search", tmp_path) as current:
        raises = pytest.raises(type(error)) if error is not None else nullcontext()
        with raises, step("fuse.scores", candidates=3) as fused:
            fused.set(kept=2)
            if error is not None:
                raise error
    (record,) = current.steps
    assert (record.kind, record.status, record.reason) == ("fuse.scores", status, reason)
    assert record.attributes == {"candidates": 3, "kept": 2}
    assert record.duration_ms >= 0
    begin, end = (line for line in _lines(tmp_path) if line.get("kind") == "fuse.scores")
    assert (begin["event"], end["event"], end["status"], end["reason"]) == ("begin", "end", status, reason)


def test_a_skipped_step_says_why() -> None:
    with run("search", None) as current, step("synthesize") as skipped:
        skipped.skip("no model")
    assert [(record.status, record.reason) for record in current.steps] == [(Status.SKIPPED, "no model")]


def test_a_step_ends_once_whoever_ends_it(tmp_path: Path) -> None:
    with run("search", tmp_path) as current:
        opened = step("retrieve.dense")
        barrier = threading.Barrier(8)

        def end(status: Status) -> None:
            barrier.wait()
            opened.end(status)

        threads = [threading.Thread(target=end, args=(status,)) for status in [*Status, *Status][:8]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        opened.end(Status.FAILED, "late")
    assert len(current.steps) == 1
    assert [line["event"] for line in _lines(tmp_path) if line.get("kind") == "retrieve.dense"] == ["begin", "end"]


def test_a_step_that_was_ended_inside_its_block_keeps_that_status() -> None:
    with run("search", None) as current, step("synthesize") as ended:
        ended.end(Status.TIMED_OUT, "budget")
    assert [record.status for record in current.steps] == [Status.TIMED_OUT]


def test_a_stage_that_takes_no_time_is_one_write_with_both_lines(tmp_path: Path) -> None:
    with run("search", tmp_path) as current, step("retrieve.gather") as around:
        with mock.patch.object(Ledger, "append", autospec=True, side_effect=Ledger.append) as append:
            note("retrieve.sparse", Status.SKIPPED, "not_configured", candidates=3)
        assert append.call_count == 1
    record = current.steps[0]
    assert (record.status, record.reason, record.parent_id) == (Status.SKIPPED, "not_configured", around.span_id)
    lines = [line for line in _lines(tmp_path) if line.get("kind") == "retrieve.sparse"]
    assert [line["event"] for line in lines] == ["begin", "end"]
    assert lines[1]["attributes"] == {"candidates": 3}


def test_secrets_are_masked_in_every_text_of_a_line(tmp_path: Path) -> None:
    token = "ghp_" + "Ab1" * 12
    for _ in range(2):  # what is remembered of texts that were looked at must not let one through
        with run("search", tmp_path, session_id=token) as current:
            with step("fuse.scores", reason=token, count=1):
                pass
            step("rerank").end(Status.FAILED, f"says {token}", f"in {token}")
            assert all(token.encode() not in path.read_bytes() for path in tmp_path.glob("live/*.pages"))
        assert token not in str(current.steps)
        (path,) = ledger.find(tmp_path, current.run_id)
        assert token not in path.read_text()


def test_what_embeds_us_finds_no_parent_that_nobody_exports() -> None:
    theirs = trace.NonRecordingSpan(trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(1)))
    with trace.use_span(theirs), run("search", None) as current, step("fuse.scores") as inner:
        assert trace.get_current_span() is theirs
        assert current.trace_id == f"{1:032x}"
        assert propagation.carrier()["traceparent"] == f"00-{1:032x}-{inner.span_id}-01"
    assert propagation.carrier() == {}


def test_an_unknown_kind_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match=r"conventions\.py"):
        step("made.up")


def test_a_step_without_a_run_is_only_a_span() -> None:
    with step("fuse.scores"):
        assert current_run() is None


def test_a_run_has_ids_a_first_and_a_last_line(tmp_path: Path) -> None:
    run_id = str(uuid.uuid4())
    with run("search", tmp_path, run_id=run_id, session_id="s" * 500) as current:
        assert current_run() is current
        assert len(current.trace_id) == 32
        assert len(current.session_id) == 200
    assert current_run() is None
    first, *_, last = _lines(tmp_path)
    assert (first["event"], first["operation"], first["trace_id"]) == ("run", "search", current.trace_id)
    assert (last["event"], last["status"]) == ("done", "ok")
    assert {line["run_id"] for line in _lines(tmp_path)} == {run_id}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError(), "error"),
        (UnknownFile("x"), "refused"),
        (DeadlineExceeded("late"), "error"),
        (KeyboardInterrupt(), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_how_a_run_ended(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), run("search", tmp_path):
        raise error
    assert _lines(tmp_path)[-1]["status"] == status


@pytest.mark.parametrize("run_id", ["", "x", "../../etc/passwd", "1" * 31, "a\nb", "\0", "\ud800", "x" * 10_000])
def test_a_malformed_run_id_is_replaced(run_id: str) -> None:
    assert str(uuid.UUID(well_formed_run_id(run_id))) != run_id


def test_a_well_formed_run_id_is_kept_in_its_canonical_form() -> None:
    assert well_formed_run_id("{6BA7B810-9DAD-11D1-80B4-00C04FD430C8}") == "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


def test_a_killed_process_leaves_a_begin_without_an_end(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from codeintel_core.telemetry import run, step\n"
        "with run('build', Path(sys.argv[1])):\n"
        "    with step('build.plan'): pass\n"
        "    with step('build.dense'): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == -9
    lines = [(line["event"], line.get("kind")) for line in _lines(tmp_path)]
    assert lines == [("run", None), ("begin", "build.plan"), ("end", "build.plan"), ("begin", "build.dense")]


def test_a_ledger_that_cannot_be_written_is_counted_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    before = _errors()
    with run("search", tmp_path / "file") as current, step("fuse.scores"):
        pass
    assert len(current.steps) == 1
    assert _errors() > before


def test_an_attribute_that_cannot_be_recorded_is_counted_and_nothing_else(tmp_path: Path) -> None:
    before = _errors()
    with run("search", tmp_path) as current, step("fuse.scores", text="\ud800"):
        pass
    assert len(current.steps) == 1
    assert _errors() > before
    assert [line["event"] for line in _lines(tmp_path)] == ["run", "begin", "end", "done"], "it did not die there"


def test_a_step_that_ends_after_its_run_is_dropped_quietly(tmp_path: Path) -> None:
    with run("search", tmp_path) as current:
        late = step("retrieve.dense")
    late.end(Status.COMPLETED)
    assert isinstance(current, Run)
    assert _lines(tmp_path)[-1]["event"] == "done"


def test_a_thread_that_nobody_waits_for_adds_no_step_to_what_was_gathered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "codeintel.steps")

    def late() -> None:
        with step("retrieve.dense"):
            pass
        note("retrieve.sparse", Status.SKIPPED, "not_configured")

    with run("search", tmp_path) as current:
        current.settle()
        thread = threading.Thread(target=contextvars.copy_context().run, args=(late,))
        thread.start()
        thread.join()
        with step("trace.write"):
            pass
    assert [record.kind for record in current.steps] == ["trace.write"]
    assert [line["kind"] for line in _lines(tmp_path) if "kind" in line] == ["trace.write", "trace.write"]
    assert [record.kind for record in caplog.records] == ["trace.write"]  # type: ignore[attr-defined]


def test_a_step_whose_thread_stalls_as_it_ends_is_in_its_run_once(tmp_path: Path) -> None:
    goes_on, stalls = threading.Event(), threading.Event()

    def stall(*_: object) -> None:
        stalls.set()
        assert goes_on.wait(30)

    def late() -> None:
        with step("retrieve.dense"):
            pass

    with mock.patch.object(Step, "_tell", stall):
        with run("search", tmp_path) as current:
            thread = threading.Thread(target=contextvars.copy_context().run, args=(late,))
            thread.start()
            assert stalls.wait(30)
        goes_on.set()
        thread.join()
    assert [record.status for record in current.steps] == [Status.COMPLETED]
    assert [line["event"] for line in _lines(tmp_path)] == ["run", "begin", "end", "done"]


def test_a_step_that_its_run_ends_the_moment_it_begins_ends_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "codeintel.steps")

    def begin(current: Run, of: Step) -> bool:
        is_noted = real(current, of)
        current.settle()  # as another thread may
        return is_noted

    real = Run.begin
    with mock.patch.object(Run, "begin", begin), run("search", None) as current, step("retrieve.dense"):
        pass
    assert [record.status for record in current.steps] == [Status.CANCELLED]
    assert [record.status for record in caplog.records] == ["cancelled"]  # type: ignore[attr-defined]


def test_durations_are_counted_by_kind_and_status() -> None:
    labels = {"kind": "cite.verify", "status": "skipped"}
    before = metrics.REGISTRY.get_sample_value("codeintel_step_seconds_count", labels) or 0
    with step("cite.verify") as current:
        current.skip("x")
    assert metrics.REGISTRY.get_sample_value("codeintel_step_seconds_count", labels) == before + 1


def _errors() -> float:
    return metrics.REGISTRY.get_sample_value("codeintel_telemetry_errors_total") or 0.0
