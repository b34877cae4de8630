"""The whole way: traces of people become weights that count, are named by builds, and are taken back."""

from __future__ import annotations

import json
from contextlib import closing

import duckdb
import pytest
from typer.testing import CliRunner

from benchmarks import fake_encoder, plain_build
from codeintel_core.cli import build_app
from codeintel_core.errors import CodeIntelError
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.retrieval import tuning
from codeintel_core.settings import Settings, get_settings
from codeintel_core.traces import journal, tables
from codeintel_pipelines import runs
from codeintel_pipelines.analytics import database
from codeintel_pipelines.evaluation import own
from codeintel_pipelines.learning import learn
from codeintel_pipelines.learning.simulator import People, World, simulate, store
from tests.conftest import Repo

pytestmark = pytest.mark.e2e


def _store(home: Home, world: World) -> None:
    store(home, simulate(People(world, sessions=300, bias=0.5), seed=1))
    for table in tables.every(home):
        for day in journal.days(table.journals):
            tables.compact(table, day)


def _command(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(build_app(), ["tuning", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_what_people_open_becomes_weights_and_can_be_taken_back(
    home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEINTEL_HOME", str(home.root))
    get_settings.cache_clear()
    settings = Settings(home=home.root)
    mirror.add(home, str(source.path), name="calculator")
    with fake_encoder.used_by_builds():
        assert plain_build.build(home, settings, "calculator").tuning_id == ""
        _store(home, World.LEANING)
        runs.learn(home)
        proposal = learn.last_proposal(home)
        assert proposal is not None
        assert proposal.reasons == ["no repository has golden queries: run the job evaluate_retrieval first"]
        assert _command("status")["tuning_id"] == ""

        own.mine(home, "calculator")
        found = _command("learn")
        tuning_id = found["tuning_id"]
        assert tuning_id == tuning.current_id(home) != ""
        document = tuning.load(home, str(tuning_id))
        assert document.factors.keys() == {"identifier"}
        assert document.learned_from["test"] >= 40
        assert document.numbers["golden"].keys() == {"calculator"}
        assert document.dagster_run_id

        source.commit({"src/more.py": "def more():\n    return 1\n"})
        mirror.refresh(home, "calculator")
        assert plain_build.build(home, settings, "calculator").tuning_id == tuning_id

        assert _command("rollback") == {"tuning_id": "", "is_held": True}
        assert "a person rolled back" in learn.promote(home, settings, "")[1][0]
        assert _command("resume") == {"was_held": True}
    with pytest.raises(CodeIntelError, match="defaults already"):
        CliRunner().invoke(build_app(), ["tuning", "rollback"], catch_exceptions=False)


def test_without_signal_nothing_is_promoted(home: Home) -> None:
    settings = Settings(home=home.root)
    _store(home, World.BLIND)
    with closing(duckdb.connect()) as connection:
        database.create_views(connection, home, settings)
        proposal = learn.propose(home, settings, connection)
    assert proposal.reasons
    assert learn.last_proposal(home) == proposal
    assert learn.promote(home, settings, "") == ("", proposal.reasons)
    assert tuning.kept(home) == []
