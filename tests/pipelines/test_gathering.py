"""The machine with Dagster makes the tables of all: its sensor sees what waits in the bucket, its assets take it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from codeintel_core.home import Home
from codeintel_core.objects import segments, shared
from codeintel_core.objects.bucket import Bucket
from codeintel_core.settings import Settings, get_settings
from codeintel_core.traces import journal
from codeintel_core.traces.record import TraceJournal
from codeintel_pipelines import commands, retention, runs, watch
from codeintel_pipelines.defs import sensors
from codeintel_pipelines.resources import HomeResource
from tests import s3_server
from tests.pipelines.test_analytics import _trace
from tests.ports import free_port

pytestmark = pytest.mark.e2e


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """A machine that answers; this process is the one that makes the tables of both."""
    s3_server.set_credentials(monkeypatch)
    with s3_server.serving() as endpoint:
        url = s3_server.new_bucket(endpoint)
        mine = s3_server.environment(endpoint, url, tmp_path / "analyst") | {"CODEINTEL_COLLECT_TRACES": "true"}
        for name, value in mine.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        days = {"trace_keep_days": 2, "ledger_keep_days": 2}
        yield s3_server.settings_of(endpoint, url, tmp_path / "server", collect_traces=False, **days)
    get_settings.cache_clear()


def ask(settings: Settings, query: str, at: datetime) -> None:
    writer = TraceJournal(Home(settings.home).trace_journal)
    assert writer.write(_trace(query, at))
    writer.close()


def hand_over(settings: Settings) -> None:
    handover = shared.handover(settings)
    assert handover is not None
    assert handover.run().problem == ""


def tick(cursor: str | None = None) -> dg.SensorResult:
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance, cursor=cursor, resources={"home": HomeResource()})
        result = sensors.new_traces(context)
    assert isinstance(result, dg.SensorResult)
    return result


def waiting(settings: Settings) -> int:
    return len(segments.listed(Bucket.of(settings)))


def test_rows_of_another_machine_are_in_the_tables_once(server: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    now, home = datetime.now(UTC), Home(get_settings().home)
    today = f"{now:%Y-%m-%d}"
    assert [due.job_name for due in tick().run_requests or []] == []  # from now on the bucket knows who makes tables
    ask(server, "asked there", now)
    ask(get_settings(), "asked here", now)
    hand_over(server)
    assert waiting(server) == 1

    (here,) = tick().run_requests or []  # the journal of this machine, whose run brings in the rest
    assert (here.job_name, here.partition_key) == ("compact_traces", today)
    seen = json.dumps({today: sum(path.stat().st_size for path in journal.files(home.trace_journal, today))})
    (there,) = tick(seen).run_requests or []
    assert (there.job_name, there.partition_key) == ("compact_traces", today)
    assert str(there.run_key).startswith(f"{today}@")
    (again,) = tick(seen).run_requests or []
    assert again.run_key == there.run_key
    (later,) = watch.segments(get_settings(), now + timedelta(hours=1))
    assert later.run_key != there.run_key  # should the first run not have had the bucket

    assert runs.refresh_analytics(home) == [today]
    assert waiting(server) == 0
    assert [due.job_name for due in tick(seen).run_requests or [] if due.job_name == "compact_traces"] == [
        "compact_traces"
    ]  # for the journal that was brought
    with duckdb.connect(str(home.analytics), read_only=True) as db:
        found = db.execute("SELECT query FROM answers ORDER BY query").fetchall()
        assert found == [("asked here",), ("asked there",)]
        assert db.execute("SELECT count(*) FROM answers WHERE machine = ''").fetchone() == (0,)

    # Without the bucket the tables are made of what is here, and the sensor goes on.
    ask(server, "asked later", now)
    hand_over(server)
    with monkeypatch.context() as patch:
        patch.setenv("CODEINTEL_S3_ENDPOINT", f"http://127.0.0.1:{free_port()}")
        get_settings.cache_clear()
        tick()
        assert runs.refresh_analytics(home) == []
    get_settings.cache_clear()
    assert runs.refresh_analytics(home) == [today]
    with duckdb.connect(str(home.analytics), read_only=True) as db:
        assert db.execute("SELECT count(*), count(DISTINCT trace_id) FROM answers").fetchone() == (3, 3)

    # What is too old goes from the machine that answered, and from the bucket.
    ask(server, "asked long ago", now - timedelta(days=9))
    hand_over(server)
    assert waiting(server) == 1
    assert retention.sweep(Home(server.home), server).handed_over == 2
    assert waiting(server) == 0
    assert journal.days(Home(server.home).trace_journal) != []


def test_who_makes_tables_on_another_machine_is_told_whose_rows_they_have(
    server: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tick()
    hand_over(server)
    capsys.readouterr()
    commands.remark_on_others()
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("CODEINTEL_HOME_CACHE", str(server.home))
    monkeypatch.setenv("CODEINTEL_COLLECT_TRACES", "false")
    get_settings.cache_clear()
    commands.remark_on_others()
    assert capsys.readouterr().err.startswith("only rows of this machine: ")
