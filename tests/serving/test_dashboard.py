"""The dashboard's endpoint: what is in codeintel.duckdb now, its empty states, and who may see it."""

from __future__ import annotations

import threading
from pathlib import Path

import asked
import duckdb
import httpx
import pytest
from running import running, until
from workshop import settings_for

from codeintel_core.errors import StorageFailed
from codeintel_core.home import Home
from codeintel_serving.access import keys
from codeintel_serving.access.principal import Permission
from codeintel_serving.dashboard import Dashboard, DashboardReader
from codeintel_serving.services import Services


@pytest.fixture
def reader(tmp_path: Path) -> DashboardReader:
    return DashboardReader(Home(tmp_path).analytics)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_before_there_are_tables_it_says_how_to_make_them(reader: DashboardReader, home: Home) -> None:
    found = reader.read(30)
    assert (found.state, found.written_at, found.volume) == ("missing", None, [])
    assert "codeintel analytics" in found.hint
    asked.write(home, 0)
    found = reader.read(30)
    assert (found.state, found.volume) == ("empty", [])
    assert found.written_at is not None


@pytest.mark.e2e
def test_it_shows_the_last_days_and_what_was_missed(reader: DashboardReader, home: Home) -> None:
    asked.write(home, 12)
    found = reader.read(30)
    assert found.state == "ready"
    every = list(asked.traces(12))
    assert sum(row.requests for row in found.volume) == len(every)
    assert sum(row.empty for row in found.volume) == 11
    assert len({row.day for row in found.quality}) == 11, "a day without requests has no row"
    assert {row.stage for row in found.latency} == {*asked._STAGES, "total"}
    assert all(row.p50_ms <= row.p95_ms <= row.p99_ms for row in found.latency)
    (miss,) = found.zero_hits
    assert (miss.query, miss.asked) == (asked.HOSTILE, 11)
    assert [one.confidence for one in found.low_confidence] == sorted(one.confidence for one in found.low_confidence)
    last = reader.read(3)
    assert sorted({row.day.day for row in last.quality}) == [10, 11, 12]


@pytest.mark.e2e
def test_a_replaced_file_is_seen_and_an_open_reader_does_not_hinder(reader: DashboardReader, home: Home) -> None:
    asked.write(home, 1)
    before = reader.read(30)
    assert reader.read(30) is before, "read once per file"
    stop, seen, failed = threading.Event(), set[int](), list[Exception]()

    def look() -> None:
        while not stop.wait(0.001):  # a breath, so that the writer gets its turns
            try:
                seen.add(_requests(reader.read(30)))
            except Exception as error:
                failed.append(error)

    wanted = [len(list(asked.traces(days))) for days in (1, 2)]
    looking = threading.Thread(target=look)
    looking.start()
    try:
        until(lambda: wanted[0] in seen or failed)
        asked.write(home, 2)
        after = reader.read(30)
        until(lambda: wanted[1] in seen or failed)
    finally:
        stop.set()
        looking.join()
    assert failed == []
    assert [_requests(before), _requests(after)] == wanted
    assert seen == set(wanted)
    with duckdb.connect(str(home.analytics)) as db:  # nobody holds the file
        assert db.execute("SELECT sum(requests) FROM daily_volume").fetchone() == (wanted[-1],)


def _requests(found: Dashboard) -> int:
    return sum(row.requests for row in found.volume)


def test_tables_of_an_older_version_are_named_so_and_damage_is_an_error(reader: DashboardReader, home: Home) -> None:
    asked.write(home, 2)
    asked.without(home.analytics, "answer_quality")
    assert reader.read(30).state == "outdated"
    home.analytics.write_bytes(b"no database" * 100)
    with pytest.raises(StorageFailed, match=r"analytics/codeintel.duckdb cannot be read; .*codeintel analytics"):
        reader.read(30)


@pytest.mark.e2e
def test_it_is_for_who_sees_all_repositories_and_may_read_telemetry(home: Home) -> None:
    asked.write(home, 2)
    with Services(settings_for(home)) as services, running(services) as url, httpx.Client(base_url=url) as http:
        found = Dashboard.model_validate(http.get("/analytics/dashboard").json())
        assert found.state == "ready"
        assert http.get("/analytics/dashboard?days=0").status_code == 422
        assert http.get("/analytics/dashboard?days=367").status_code == 422
        page = http.get("/dashboard")
        assert page.headers["content-type"].startswith("text/html")
        given = {
            name: keys.create(home.keys, permissions=[permission], repos=[repos])[0]
            for name, permission, repos in (
                ("all", Permission.TELEMETRY, "*"),
                ("some", Permission.TELEMETRY, "shop"),
                ("reader", Permission.READ, "*"),
            )
        }
        answers = {
            name: http.get("/analytics/dashboard", headers={"X-API-Key": key}).status_code
            for name, key in given.items()
        }
        assert answers == {"all": 200, "some": 403, "reader": 403}
        assert http.get("/analytics/dashboard").status_code == 401
        assert http.get("/dashboard").content == page.content, "the page holds no data and needs no key"
