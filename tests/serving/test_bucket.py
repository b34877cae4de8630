"""A server whose home is in a bucket: it fills an empty folder, follows, and serves on when the bucket is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from calling import call
from running import until
from workshop import Workshop, commit, settings_for

from codeintel_core.home import Home
from codeintel_core.objects import shared
from codeintel_core.objects.gathering import Gathering
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.tuning import Tuning
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_serving.exposition import exposed
from codeintel_serving.readiness import readiness
from codeintel_serving.services import Services
from tests import s3_server

pytestmark = pytest.mark.e2e

QUESTION = "How is a generation published atomically?"


def bucket_check(services: Services) -> tuple[str, str]:
    check = readiness(services).checks["bucket"]
    return check.status, check.reason


def rows_today(home: Home) -> dict[str, dict[str, Any]]:
    """Rows in the journals of a home, by run."""
    day = tables.read_day(tables.traces(home), f"{datetime.now(UTC):%Y-%m-%d}")
    return {row["run_id"]: row for row in day.to_pylist()}


def rows_wait_in_the_bucket(services: Services, collected: Gathering) -> None:
    """What was answered so far is handed over while the server serves, and shown."""
    handover = services.handover
    assert handover is not None
    until(lambda: collected.waiting() and not handover.standing().bytes_here)
    assert readiness(services).checks["traces"].status == "ok"
    shown = exposed(services, "")[0].decode()
    assert "codeintel_trace_segments_waiting 0.0" not in shown
    assert "codeintel_trace_bytes_waiting 0.0" in shown


def test_a_server_fills_an_empty_folder_follows_and_outlives_its_bucket(
    workshop: Workshop, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.set_credentials(monkeypatch)
    with s3_server.serving() as endpoint:
        url = s3_server.new_bucket(endpoint)

        def of(folder: Path, **changes: Any) -> Settings:
            place = {"home": url, "home_cache": folder, "s3_endpoint": endpoint, "s3_allow_http": True}
            patient = settings_for(workshop.home).model_dump(include={"retrieval_budget_ms", "answer_budget_ms"})
            often = dict.fromkeys(("watch_interval_s", "bucket_interval_s", "trace_handover_s"), 0.05)
            return Settings(**place, **patient, **often, **changes)

        builder = replace(workshop, settings=of(workshop.home.root))
        shared.prepare(of(workshop.home.root), workshop.home, "shop")
        collected = shared.gathering(of(tmp_path / "analyst", collect_traces=True))
        assert collected is not None
        assert collected.waiting() == []
        with (
            Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as there,
            Services(of(tmp_path / "server"), encoder=lambda: workshop.encoder) as services,
        ):
            assert bucket_check(services) == ("degraded", "the bucket was not asked yet")
            services.start()
            until(services.library.serving)
            there.warm()
            found = call(services, "answer", question=QUESTION)
            assert found.citations
            assert all(cited.verified for cited in found.citations)
            assert found.citations == call(there, "answer", question=QUESTION).citations
            blamed = [call(one, "blame", path="store/publish.py").ranges for one in (services, there)]
            assert blamed[0] == blamed[1]
            until(lambda: bucket_check(services) == ("ok", ""))

            commit(source, {"store/late.py": "def late_arrival():\n    return 'late'\n"})
            manifest = builder.build("shop")
            until(lambda: [one.manifest.gen_id for one in services.library.serving()] == [manifest.gen_id])

            learned = Tuning(
                parent="", created_at=datetime.now(UTC), factors={"identifier": {"lexical": 0.1}}, learned_from={},
                numbers={},
            )  # fmt: skip
            tuning_id = tuning.promote(workshop.home, learned, partial(shared.announce_files, builder.settings))
            until(lambda: services.engine.tuning().tuning_id == tuning_id)
            run_id = call(services, "search", query="late_arrival").run_id
            assert rows_today(services.home)[run_id]["tuning_id"] == tuning_id
            tuning.roll_back(workshop.home, "", partial(shared.announce_files, builder.settings))
            until(lambda: services.engine.tuning().tuning_id == "")
            rows_wait_in_the_bucket(services, collected)
            last = call(services, "search", query="swap_pointer").run_id  # which is handed over at the end
        assert collected.bring().problems == []
        assert {run_id, last} <= set(rows_today(Home(tmp_path / "analyst")))
    # The server of the bucket has stopped; the services of a process that starts now have what is in the folder.
    with Services(of(tmp_path / "server"), encoder=lambda: workshop.encoder) as services:
        services.warm()
        services.follow()
        status, reason = bucket_check(services)
        assert status == "degraded"
        assert reason.startswith(f"{url} cannot be used: ")
        assert readiness(services).state == "degraded"
        services.hand_over()
        assert readiness(services).checks["traces"].reason.startswith(f"{url} cannot be used: ")
        found = call(services, "search", query="late_arrival")
        assert found.results[0].path == "store/late.py"
        assert found.index[0].generation == manifest.gen_id
