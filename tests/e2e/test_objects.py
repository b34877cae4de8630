"""Two machines build into one bucket with the commands that a folder has; a third only asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from codeintel_core.cli import build_app
from codeintel_core.errors import BucketUnavailable, PublishConflict
from codeintel_core.generations.publish import current_id
from codeintel_core.home import Home
from codeintel_core.objects import keys, upload
from codeintel_core.objects.bucket import Bucket
from codeintel_core.settings import get_settings
from tests import s3_server
from tests.conftest import GitRepo
from tests.ports import free_port

pytestmark = pytest.mark.e2e

FILES = {
    "settings.py": '"""Settings."""\n\n\ndef parse_config_file(path):\n    """Load."""\n    return open(path)\n',
    "queue.py": "def drain_queue(queue):\n    return [queue.get() for _ in range(queue.qsize())]\n",
}
Run = Callable[..., str]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server.serving() as url:
        yield url


@pytest.fixture
def on(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a command on a machine: `on("a", "build", "demo")`; what it raises is raised, its output comes back."""
    url = s3_server.new_bucket(endpoint)
    app = build_app()
    (tmp_path / "models").mkdir()

    def run(machine: str, *arguments: str, code: int = 0, **environment: str) -> str:
        folder = tmp_path / machine
        folder.mkdir(exist_ok=True)
        if not (folder / "models").exists():  # exported once
            (folder / "models").symlink_to(tmp_path / "models")
        for name, value in {**s3_server.environment(endpoint, url, folder), **environment}.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result.stdout

    yield run
    get_settings.cache_clear()


def test_the_commands_work_across_machines(
    on: Run, git_repo: GitRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = git_repo(FILES, name="demo")
    on("a", "add", str(source.path))
    first = json.loads(on("a", "build", "demo", "--json"))
    assert "conditional writes work" in on("a", "doctor")
    question = ("search", "--json", "parse config file")
    answers = [json.loads(on(machine, *question)) for machine in ("a", "c")]
    assert answers[0]["results"] == answers[1]["results"]
    assert answers[1]["results"][0]["path"] == "settings.py"
    (cited,) = [c for c in json.loads(on("c", "answer", "--json", "parse config file"))["citations"] if c["id"] == 1]
    assert cited["verified"]

    # Another machine goes on from what the first one published.
    source.commit({"late.py": "def late_arrival():\n    return 'late'\n"})
    second = json.loads(on("b", "build", "demo", "--json"))
    assert second["parent"] == first["gen_id"]
    assert second["reuse"]["files"] == len(FILES)
    assert json.loads(on("c", *question[:2], "late_arrival"))["results"][0]["path"] == "late.py"
    listed = json.loads(on("c", "generations", "demo", "--json"))
    assert [(one["generation"], one["current"]) for one in listed] == [
        (first["gen_id"], False), (second["gen_id"], True),
    ]  # fmt: skip
    on("c", "rollback", "demo")
    assert current_id(Home(tmp_path / "c").repository("demo")) == first["gen_id"]
    assert "held" in on("a", "build", "--all")
    assert json.loads(on("a", "search", "--json", "late_arrival", "--as-of", second["gen_id"]))["results"]

    # Which learned weights count is the home's too.
    on("c", "tuning", "rollback", "--defaults")
    assert json.loads(on("a", "tuning", "status", "--json"))["is_held"]
    assert json.loads(on("a", "tuning", "resume", "--json"))["was_held"]
    assert not json.loads(on("c", "tuning", "status", "--json"))["is_held"]

    (swept,) = json.loads(on("b", "gc", "--dry-run", "--json"))["bucket"]
    assert swept["kept"] == {first["gen_id"]: ["current", "last", "young"], second["gen_id"]: ["last", "young"]}

    # A build that another machine overtook publishes nothing and says so.
    def overtaken(bucket: Bucket, *rest: object) -> None:
        send(bucket, *rest)
        bucket.put(keys.current("demo"), b"another\n")

    with monkeypatch.context() as patch:
        send = upload.upload
        patch.setattr(upload, "upload", overtaken)
        with pytest.raises(PublishConflict, match="now serves another in the bucket"):
            on("a", "build", "demo")
    assert current_id(Home(tmp_path / "a").repository("demo")) == first["gen_id"]

    # Without the bucket what is here answers, and nothing is built.
    away = {"CODEINTEL_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    assert json.loads(on("a", *question, **away))["results"][0]["path"] == "settings.py"
    for machine, command in (("a", ("build", "demo")), ("d", question)):
        with pytest.raises(BucketUnavailable, match=r"s3://bucket-.* cannot be used"):
            on(machine, *command, **away)


def test_a_purge_on_one_machine_reaches_the_others_and_their_rows(on: Run, git_repo: GitRepo, tmp_path: Path) -> None:
    codename = "operation nightingale protocol"
    source = git_repo({**FILES, "plan.py": f'def secret_plan():\n    """{codename}."""\n'}, name="demo")
    on("a", "add", str(source.path))
    built = json.loads(on("a", "build", "demo", "--json"))
    asked = ("search", "--json", "secret_plan")
    collects = {"CODEINTEL_COLLECT_TRACES": "true"}
    assert json.loads(on("b", "analytics", "--json", **collects))["days"] == []
    assert "tables are made by" in on("c", "doctor", CODEINTEL_COLLECT_TRACES="false")
    assert codename in on("c", *asked)
    on("c", "search", f"where is {codename}")  # its row is in the bucket when the command has ended
    purge = ("purge", "--text", codename, "--json", "--wait", "0")
    found = json.loads(on("b", *purge))
    assert (found["generations"], len(found["rows"])) == ({"demo": [built["gen_id"]]}, 1)
    assert codename in on("c", *asked)
    report = json.loads(on("b", *purge, "--yes", code=1))
    assert (report["generations"], report["left"]) == ({"demo": [built["gen_id"]]}, [])
    assert (report["rows"], report["collected_by"]) == (found["rows"], "")
    assert report["bucket_objects"] > 0
    assert len(report["unconfirmed"]) == 2  # a and c, until they look
    shown = on("c", *asked)
    assert "secret_plan" in shown
    assert codename not in shown
    on("a", "status")
    report = json.loads(on("b", *purge, "--yes"))
    assert (report["generations"], report["left"], report["unconfirmed"]) == ({}, [], {})
    for machine in "abc":
        at = Home(tmp_path / machine).repository("demo")
        assert [path.name for path in at.generations.glob("*")] == [current_id(at)] != [built["gen_id"]]
    days = json.loads(on("b", "analytics", "--json", **collects))["days"]
    with duckdb.connect(str(Home(tmp_path / "b").analytics), read_only=True) as db:
        (query,) = db.execute("SELECT query FROM answers WHERE query LIKE 'where is %'").fetchall()
        assert query == ("where is " + "*" * len(codename),)
        assert db.execute("SELECT count(*) FROM answers WHERE query = 'secret_plan'").fetchone() == (3,)
    assert len(days) == 1
