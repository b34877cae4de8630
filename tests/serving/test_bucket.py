"""A server whose home is in a bucket: it fills an empty folder, follows, and serves on when the bucket is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from calling import call
from running import until
from workshop import Workshop, commit, settings_for

from codeintel_core.objects import shared
from codeintel_core.retrieval import tuning
from codeintel_core.retrieval.tuning import Tuning
from codeintel_core.settings import Settings
from codeintel_core.traces import tables
from codeintel_serving.readiness import readiness
from codeintel_serving.services import Services
from tests import s3_server

QUESTION = "How is a generation published atomically?"


def bucket_check(services: Services) -> tuple[str, str]:
    check = readiness(services).checks["bucket"]
    return check.status, check.reason


def test_a_server_fills_an_empty_folder_follows_and_outlives_its_bucket(
    workshop: Workshop, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3_server.set_credentials(monkeypatch)
    with s3_server.serving() as endpoint:
        url = s3_server.new_bucket(endpoint)

        def of(folder: Path) -> Settings:
            place = {"home": url, "home_cache": folder, "s3_endpoint": endpoint, "s3_allow_http": True}
            patient = settings_for(workshop.home).model_dump(include={"retrieval_budget_ms", "answer_budget_ms"})
            return Settings(**place, **patient, watch_interval_s=0.05, bucket_interval_s=0.05)

        builder = replace(workshop, settings=of(workshop.home.root))
        shared.prepare(of(workshop.home.root), workshop.home, "shop")
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
            day = tables.read_day(tables.traces(services.home), f"{datetime.now(UTC):%Y-%m-%d}")
            assert {row["run_id"]: row["tuning_id"] for row in day.to_pylist()}[run_id] == tuning_id
            tuning.roll_back(workshop.home, "", partial(shared.announce_files, builder.settings))
            until(lambda: services.engine.tuning().tuning_id == "")
    # The server of the bucket has stopped; the services of a process that starts now have what is in the folder.
    with Services(of(tmp_path / "server"), encoder=lambda: workshop.encoder) as services:
        services.warm()
        services.follow()
        status, reason = bucket_check(services)
        assert status == "degraded"
        assert reason.startswith(f"{url} cannot be used: ")
        assert readiness(services).state == "degraded"
        found = call(services, "search", query="late_arrival")
        assert found.results[0].path == "store/late.py"
        assert found.index[0].generation == manifest.gen_id
