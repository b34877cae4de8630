"""Rows of all machines reach the tables of one, each once, whoever is killed or away meanwhile; none is lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from codeintel_core.errors import BucketUnavailable
from codeintel_core.objects import keys, segments, shared
from codeintel_core.objects.bucket import Bucket
from codeintel_core.objects.gathering import Brought, Gathering
from codeintel_core.objects.handover import BROUGHT, Handover
from codeintel_core.objects.purging import BucketPurge
from codeintel_core.secrets import purged
from codeintel_core.secrets.purged import PurgeList
from codeintel_core.traces import journal, retention, tables
from codeintel_core.traces.journal import Journal
from codeintel_core.traces.record import AnswerTrace, Feedback, TraceJournal
from tests import s3_server
from tests.core.objects.conftest import Machine, MakeMachine
from tests.ports import free_port

pytestmark = pytest.mark.e2e

DAY = "2026-02-03"
AT = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
SECRET = "operation nightingale protocol"
HIDE = PurgeList(patterns=("operation nightingale [a-z]+l",))


def write(machine: Machine, *queries: str, at: datetime = AT) -> Path:
    """Rows of searches, as a process of that machine journals them; returns the journal."""
    writer = TraceJournal(machine.home.trace_journal)
    for number, query in enumerate(queries):
        trace = AnswerTrace(
            run_id=f"run of {query}", session_id="", otel_trace_id="t", operation="search", surface="rest",
            asked_at=at + timedelta(seconds=number), query=query, scope="{}", mode="hybrid", retrieval_budget_ms=400,
            total_budget_ms=2000,
        )  # fmt: skip
        assert writer.write(trace)
    writer.close()
    return next(path for path in machine.home.trace_journal.rglob("*.jsonl") if writer._worker in path.name)


def handover(machine: Machine) -> Handover:
    found = shared.handover(machine.settings)
    assert found is not None
    return found


def gathers(machine: Machine) -> Gathering:
    found = shared.gathering(machine.settings)
    assert found is not None
    return found


def collect(machine: Machine, day: str = DAY) -> Brought:
    """What the asset of a day does."""
    to = gathers(machine)
    brought = to.bring(day)
    for table in tables.every(machine.home):
        assert tables.compact(table, day).lost == 0
    to.let_go(brought.segments)
    return brought


def stored(machine: Machine, day: str = DAY) -> list[str]:
    return sorted(pq.read_table(tables.traces(machine.home).path(day))["query"].to_pylist())


def in_bucket(machine: Machine) -> list[str]:
    return sorted(segment.key for segment in segments.listed(Bucket.of(machine.settings)))


@pytest.fixture
def analyst(machine: MakeMachine) -> Machine:
    """The machine that makes the tables, which the bucket knows."""
    found = machine("analyst", collect_traces=True)
    assert gathers(found).bring() == Brought()
    return found


@pytest.fixture
def server(machine: MakeMachine) -> Machine:
    """A machine that answers."""
    return machine("server")


def test_rows_of_all_machines_are_in_the_tables_once(analyst: Machine, server: Machine, machine: MakeMachine) -> None:
    other = machine("other")
    write(analyst, "of the analyst")
    writer = TraceJournal(server.home.trace_journal)  # which goes on writing
    write(server, "of the server")
    write(other, "of another")
    judged = Journal(server.home.feedback_journal)
    assert Feedback(run_id="run of the server", kind="useful", given_at=AT).write(judged)
    for one in (server, other, analyst):
        assert handover(one).run().problem == ""
    assert len(in_bucket(analyst)) == 3  # the analyst's own are not among them
    standing = handover(server).run()
    assert (standing.in_bucket.count, standing.bytes_here, standing.is_mine) == (2, 0, False)
    assert handover(analyst).run().in_bucket.count == 3
    assert len(in_bucket(analyst)) == 3  # nothing new, nothing sent

    brought = collect(analyst)
    assert (len(brought.segments), brought.machines, brought.problems) == (3, 2, [])
    assert stored(analyst) == ["of another", "of the analyst", "of the server"]
    table = pq.read_table(tables.traces(analyst.home).path(DAY))
    assert set(table["machine"].to_pylist()) == {socket.gethostname()}
    assert pq.read_metadata(tables.feedback(analyst.home).path(DAY)).num_rows == 1
    assert in_bucket(analyst) == []
    assert handover(server).run().in_bucket.count == 0

    write(server, "later")
    handover(server).run()
    assert len(collect(analyst).segments) == 1
    assert stored(analyst) == ["later", "of another", "of the analyst", "of the server"]
    writer.close()


def test_without_a_machine_that_makes_tables_rows_stay_where_they_are(server: Machine, machine: MakeMachine) -> None:
    write(server, "early")
    assert handover(server).run().collector == ""
    assert in_bucket(server) == []
    assert not handover(server).reaches_tables()
    analyst = machine("analyst", collect_traces=True)
    collect(analyst)
    handover(server).run()
    handover(analyst).run()
    assert handover(server).reaches_tables() and handover(analyst).reaches_tables()
    collect(analyst)
    assert stored(analyst) == ["early"]


def test_a_second_machine_is_refused_and_hands_over_instead(analyst: Machine, machine: MakeMachine) -> None:
    second = machine("second", collect_traces=True)
    write(second, "asked there")
    (problem,) = gathers(second).bring().problems
    assert f"collected by {socket.gethostname()}" in problem
    standing = handover(second).run()
    assert "unset CODEINTEL_COLLECT_TRACES here" in standing.reason(AT)
    collect(analyst)
    assert stored(analyst) == ["asked there"]


def test_a_machine_is_its_folder_whatever_its_host_is_called(
    analyst: Machine, server: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server, "before")
    handover(server).run()
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed")  # as a pod is with every start
    write(server, "after")
    handover(server).run()
    brought = collect(analyst)
    assert (len(brought.segments), brought.machines, brought.problems) == (2, 1, [])
    assert set(pq.read_table(tables.traces(analyst.home).path(DAY))["machine"].to_pylist()) > {"renamed"}


def test_killed_before_it_is_noted_rows_are_sent_again_and_stored_once(
    analyst: Machine, server: Machine, endpoint: str
) -> None:
    write(server, "one", "two")
    script = Path(__file__).with_name("killed_handover.py")
    environment = s3_server.environment(endpoint, server.settings.bucket_url, server.home.root)
    done = subprocess.run(
        [sys.executable, script], env=environment, check=False, capture_output=True, cwd=Path(__file__).parents[3]
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(in_bucket(server)) == 1
    assert not (server.home.root / "handover.json").exists()
    write(server, "three")
    handover(server).run()
    assert len(in_bucket(server)) == 2
    brought = collect(analyst)
    assert len(brought.segments) == 2
    assert stored(analyst) == ["one", "three", "two"]


def test_what_was_brought_before_it_was_let_go_is_stored_once(analyst: Machine, server: Machine) -> None:
    write(server, "one")
    handover(server).run()
    to = gathers(analyst)
    assert len(to.bring(DAY).segments) == 1
    tables.compact(tables.traces(analyst.home), DAY)
    assert to.bring(DAY).segments == to.waiting()  # it is here, so nothing is downloaded
    for path in journal.files(analyst.home.trace_journal, DAY):  # as garbage collection may do in between
        path.unlink()
    collect(analyst)
    assert stored(analyst) == ["one"]
    assert in_bucket(analyst) == []


def test_a_bucket_that_is_away_costs_only_time(analyst: Machine, server: Machine, machine: MakeMachine) -> None:
    handover(server).run()
    old = write(server, "asked meanwhile")
    away = machine("server", endpoint=f"http://127.0.0.1:{free_port()}")
    standing = handover(away).run()
    assert "cannot be used" in standing.problem
    assert standing.bytes_here == old.stat().st_size
    assert standing.oldest_s(datetime.now(UTC) + timedelta(hours=1)) >= 3_600
    assert f"{standing.bytes_here} bytes of rows wait here" in standing.reason(datetime.now(UTC))
    handover(away).finish()
    assert handover(away).unsent() == {old}
    # Its own tables do not make a journal dispensable.
    table = tables.traces(away.home)
    tables.compact(table, DAY)
    assert tables.remove_compacted(table, date(2026, 3, 1), spared=handover(away).unsent()) == 0
    assert gathers(machine("analyst", collect_traces=True, endpoint=away.settings.s3_endpoint)).bring().problems

    assert handover(server).run().problem == ""
    collect(analyst)
    assert stored(analyst) == ["asked meanwhile"]


def test_journals_go_with_the_ledgers_once_they_were_handed_over(analyst: Machine, server: Machine) -> None:
    path, today = write(server, "one"), AT.date() + timedelta(days=40)

    def expire(trace_days: int = 400, **options: bool) -> int:
        return handover(server).expire(today, trace_days=trace_days, ledger_days=30, **options)

    handover(server).run()
    late = write(server, "two")
    assert expire(dry_run=True) == 1
    assert path.exists()
    assert expire() == 1
    assert (path.exists(), late.exists()) == (False, True)
    handover(server).run()
    collect(analyst)
    assert stored(analyst) == ["one", "two"]
    handover(server).run()
    write(server, "three")
    handover(server).run()
    # Rows that are too old for tables go, also from the bucket: the journals of "two" and "three", and a segment.
    assert expire(trace_days=30) == 3
    assert in_bucket(server) == []
    assert not list(server.home.trace_journal.rglob("*.jsonl"))
    assert retention.expire(analyst.home, today, trace_days=30, ledger_days=30).traces == [DAY]


def test_a_torn_line_is_handed_over_when_it_is_whole(analyst: Machine, server: Machine) -> None:
    path = write(server, "whole", "torn")
    path.write_bytes(path.read_bytes()[:-20])
    handover(server).run()
    collect(analyst)
    assert stored(analyst) == ["whole"]
    assert handover(server).unsent() == frozenset()  # the day is over: nobody completes it
    current = write(server, "a", "b", at=datetime.now(UTC))
    whole = current.read_bytes()
    current.write_bytes(whole[:-5])
    handover(server).run()
    assert handover(server).unsent() == {current}
    current.write_bytes(whole)
    handover(server).run()
    assert handover(server).unsent() == frozenset()


def test_many_rows_make_segments_of_a_bounded_size(
    analyst: Machine, server: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [f"query {number}" for number in range(20)]
    size = write(server, *queries).stat().st_size
    write(server, "in another journal")
    monkeypatch.setattr(segments, "MAX_BYTES", size // 4)
    handover(server).run()
    assert len(in_bucket(server)) == 4  # of five rows and the one that crosses the bound
    collect(analyst)
    assert stored(analyst) == sorted([*queries, "in another journal"])


def test_the_end_of_a_process_is_short(analyst: Machine, server: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    write(server, "one")
    with monkeypatch.context() as patch:
        patch.setattr("codeintel_core.objects.handover._LAST_S", 0.0)
        handover(server).finish()
    assert handover(server).unsent()
    handover(server).finish()  # of the next process
    assert handover(server).unsent() == frozenset()
    collect(analyst)
    assert stored(analyst) == ["one"]


def test_a_damaged_segment_is_named_and_holds_up_no_other(analyst: Machine, server: Machine) -> None:
    write(server, "one")
    handover(server).run()
    (key,) = in_bucket(server)
    write(server, "two")
    handover(server).run()
    bucket = Bucket.of(server.settings)
    data = bucket.get(key)
    assert data is not None
    for damage in (b"", b"no segment", data[0][:-1]):
        bucket.put(key, damage)
        assert [key in problem for problem in collect(analyst).problems] == [True]
    assert stored(analyst) == ["two"]
    assert in_bucket(analyst) == [key]
    bucket.put(key, data[0])
    assert collect(analyst).problems == []
    assert stored(analyst) == ["one", "two"]


def purge(machine: Machine) -> BucketPurge:
    """Purge `SECRET` from the rows in the bucket, as the command does."""
    bucket = shared.bucket_purge(machine.settings, wait_s=0)
    assert bucket is not None
    bucket.bring()
    purged.save(machine.home.purged, HIDE)
    bucket.share_list()
    bucket.mask_rows(lambda data: HIDE.mask(data)[0])
    assert bucket.left(lambda data: HIDE.mask(data)[0]) == []
    return bucket


def masked(queries: Sequence[str]) -> bool:
    return all(SECRET not in query and "*" * len(SECRET) in query for query in queries)


def test_a_purge_masks_what_waits_in_the_bucket_and_what_comes_later(
    analyst: Machine, server: Machine, machine: MakeMachine
) -> None:
    write(server, f"what is {SECRET}", "harmless")
    handover(server).run()
    before = in_bucket(server)
    other = machine("other")
    bucket = purge(other)
    assert bucket.collected_by() == socket.gethostname()
    assert len(in_bucket(server)) == 1 and in_bucket(server) != before
    write(server, f"again {SECRET}")
    assert "the purge list" in handover(server).run().problem  # this machine did not look at the bucket since
    assert len(in_bucket(server)) == 1
    server.replica().follow()
    assert handover(server).run().problem == ""
    collect(analyst)
    found = stored(analyst)
    assert "harmless" in found
    assert masked([query for query in found if query != "harmless"])
    assert len(found) == 3


def test_a_purge_that_comes_between_sending_and_noting_leaves_nothing(
    analyst: Machine, server: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server, f"what is {SECRET}")
    put = segments.put

    def late(*rows: object) -> segments.Segment:  # the purge has listed segments before this one is there
        with monkeypatch.context() as patch:
            patch.setattr(segments, "put", put)
            purge(analyst)
        return put(*rows)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(segments, "put", late)
        assert "the purge list" in handover(server).run().problem
    assert in_bucket(server) == []
    server.replica().follow()
    handover(server).run()
    collect(analyst)
    assert masked(stored(analyst))


def test_a_purge_that_comes_while_rows_are_brought_in_leaves_nothing(
    analyst: Machine, server: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(server, f"what is {SECRET}")
    handover(server).run()
    replace: Callable[[Path, Path], Path] = Path.replace

    def late(pending: Path, path: Path) -> Path:  # the purge has scrubbed the journals before this one is there
        if path.name.startswith(BROUGHT) and not analyst.home.purged.exists():
            purged.save(analyst.home.purged, HIDE)
        return replace(pending, path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", late)
        gathers(analyst).bring()
    (path,) = journal.files(analyst.home.trace_journal, DAY)
    assert SECRET.encode() not in path.read_bytes()
    collect(analyst)
    assert masked(stored(analyst))


def test_what_cannot_be_read_is_not_called_clean(analyst: Machine, server: Machine) -> None:
    write(server, "one")
    handover(server).run()
    (key,) = in_bucket(server)
    bucket, purging = Bucket.of(server.settings), purge(analyst)
    bucket.put(key, b"damaged")
    assert purging.left(bytes) == [f"{bucket.url}/{key}"]


def test_foreign_objects_are_left_alone(analyst: Machine) -> None:
    bucket = Bucket.of(analyst.settings)
    for name in ("notes", f"{'0' * 12}/2026-13-45/traces-{'0' * 64}", f"{'0' * 12}/{DAY}/other-{'0' * 64}"):
        bucket.put(f"{keys.SEGMENTS}/{name}", b"x")
    assert collect(analyst) == Brought()
    with pytest.raises(BucketUnavailable):
        Bucket("s3://nowhere", endpoint=f"http://127.0.0.1:{free_port()}", allow_http=True, patience_s=1).list("traces")
