"""Runpacks: what is in them and what never is, the same bytes twice, caps, and no exception whatever is wrong."""

from __future__ import annotations

import json
import logging
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from codeintel_core.errors import InvalidRequest, UnknownRun
from codeintel_core.home import Home
from codeintel_core.reports import runpack
from codeintel_core.settings import Settings
from codeintel_core.telemetry import Status, logs, metrics, run
from tests.core.reports import samples

PARTS = {
    "meta.json", "report.json", "report.html", "ledger.jsonl", "budgets.json", "context.json", "log.txt", "trace.json",
}  # fmt: skip
CANARIES = ("sk-canary123456", "hunter2secret", "/srv/private/place", "AKIAABCDEFGHIJKLMNOP")
LEAKY = "key sk-canary123456 at https://ada:hunter2secret@host/x in /srv/private/place/file AKIAABCDEFGHIJKLMNOP"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def settings(home: Home, **changes: object) -> Settings:
    return Settings(home=home.root, **changes)


def built(home: Home, run_id: str, **changes: object) -> dict[str, bytes]:
    made = runpack.build(home, run_id, trigger="demand", settings=settings(home, **changes))
    assert made is not None
    with zipfile.ZipFile(made.path) as pack:
        return {name: pack.read(name) for name in pack.namelist()}


def test_its_parts(home: Home) -> None:
    logs.keep_recent()
    run_id = samples.record(home)
    logging.getLogger("codeintel.serving").warning("it went wrong", extra={"run_id": run_id})
    parts = built(home, run_id)
    assert parts.keys() == PARTS
    meta = json.loads(parts["meta.json"])
    assert (meta["run_id"], meta["trigger"], meta["format"]) == (run_id, "demand", 1)
    assert json.loads(parts["report.json"])["run_id"] == run_id
    assert len(parts["ledger.jsonl"].splitlines()) == 2 * len(samples.HEALTHY) + 2
    assert json.loads(parts["budgets.json"])["budgets"]["total_budget_ms"] == 2000
    context = json.loads(parts["context.json"])
    assert context["settings"].keys() == set(runpack.SETTINGS)
    assert context["versions"]["duckdb"]
    assert b"it went wrong" in parts["log.txt"]
    assert json.loads(parts["trace.json"])["query"] == "how?"


def test_the_same_run_gives_the_same_bytes(home: Home) -> None:
    run_id = samples.record(home)
    assert runpack.pack(home, run_id, "error", settings(home)) == runpack.pack(home, run_id, "error", settings(home))


def test_nothing_secret_leaves(home: Home) -> None:
    logs.keep_recent()
    run_id = samples.record(
        home, {"retrieve.dense": {"ends": (Status.FAILED, LEAKY, LEAKY), "note": LEAKY}},
        limits=[LEAKY], query=LEAKY, answer="the whole answer",
    )  # fmt: skip
    logging.getLogger("codeintel.serving").warning(LEAKY, extra={"run_id": run_id})
    parts = built(
        home, run_id, chat_base_url="http://chat.example.org/v1", chat_model="m", chat_api_key="plainlookingkey"
    )
    everything = b"".join(parts.values()).decode()
    for canary in (*CANARIES, "plainlookingkey", "chat.example.org", "the whole answer", str(home.root)):
        assert canary not in everything, canary


def test_settings_that_may_leave_are_neither_keys_nor_places() -> None:
    assert set(runpack.SETTINGS) <= set(Settings.model_fields)
    assert not [name for name in runpack.SETTINGS if "key" in name or "url" in name or name in ("home", "host", "port")]


def test_what_is_too_large_is_cut_and_says_so(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = samples.record(home)
    monkeypatch.setattr(runpack, "MAX_PART_BYTES", 1_500)
    parts = built(home, run_id)
    meta = json.loads(parts["meta.json"])
    assert {"report.json", "ledger.jsonl"} <= set(meta["cut"])
    assert all(len(data) <= 1_500 for name, data in parts.items() if name != "meta.json")
    assert all(json.loads(line) for line in parts["ledger.jsonl"].splitlines())


def test_only_the_newest_are_kept(home: Home) -> None:
    ids = [samples.record(home) for _ in range(4)]
    for run_id in ids:
        built(home, run_id, runpack_keep=2)
    assert len(list(home.runpacks.iterdir())) == 2
    assert (home.runpacks / f"{ids[-1]}.zip").exists()


@pytest.mark.parametrize("run_id", ["last", "nothing", "../../x", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"])
def test_it_never_raises(home: Home, run_id: str) -> None:
    labels = {"trigger": "error", "result": "failed"}
    before = metrics.REGISTRY.get_sample_value("codeintel_runpacks_total", labels) or 0
    assert runpack.build(home, run_id, trigger="error", settings=settings(home)) is None
    assert metrics.REGISTRY.get_sample_value("codeintel_runpacks_total", labels) == before + 1


def test_a_folder_that_cannot_be_written_is_counted(home: Home) -> None:
    run_id = samples.record(home)
    home.runpacks.write_text("a file")
    assert runpack.build(home, run_id, trigger="error", settings=settings(home)) is None


def test_readiness_that_fails_costs_the_pack_and_nothing_else(home: Home) -> None:
    def broken() -> dict[str, str]:
        raise RuntimeError("no")

    run_id = samples.record(home)
    assert runpack.build(home, run_id, trigger="error", settings=settings(home), readiness=broken) is None


def test_a_dead_run_has_one(home: Home) -> None:
    with run("build", home.ledger) as current:
        pass
    assert b"build" in built(home, current.run_id)["report.json"]


def test_it_is_opened_by_id_and_by_path(home: Home, tmp_path: Path) -> None:
    run_id = samples.record(home)
    data = runpack.pack(home, run_id, "demand", settings(home))
    path = tmp_path / "sent.zip"
    path.write_bytes(data)
    parts = runpack.open_pack(home, str(path))
    assert parts["trace.json"]["run_id"] == run_id
    page = runpack.page(parts)
    assert run_id in page
    assert "ledger.jsonl" in page
    with pytest.raises(UnknownRun, match=f"telemetry runpack {run_id}"):
        runpack.open_pack(home, run_id)
    with pytest.raises(UnknownRun):
        runpack.open_pack(home, "no/such/file.zip")


def test_what_is_no_runpack_is_refused(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(b"not a zip")
    with pytest.raises(InvalidRequest, match="not a runpack"):
        runpack.open_pack(home, str(path))
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("meta.json", "0" * (3 * runpack.MAX_PART_BYTES))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(InvalidRequest, match="too large"):
        runpack.open_pack(home, str(path))
    with zipfile.ZipFile(path, "w") as pack:
        pack.writestr("meta.json", json.dumps({"format": 99}))
    with pytest.raises(InvalidRequest, match="format 1"):
        runpack.open_pack(home, str(path))
