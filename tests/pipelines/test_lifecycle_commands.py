"""The commands that look after generations: what they print, what they change, and what starts no Dagster run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from codeintel_core.errors import CodeIntelError, InvalidRequest, UnknownGeneration, UnknownRepository
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import get_settings
from codeintel_pipelines import groups, runs
from codeintel_pipelines.cli import app
from codeintel_pipelines.definitions import defs
from codeintel_pipelines.resources import HomeResource
from tests.conftest import GitRepo, Repo
from tests.core import specimen

pytestmark = pytest.mark.e2e

_MORE = {"b.py": {"b": "def b():\n    pass\n"}}


@pytest.fixture(autouse=True)
def configured(home: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands use the test's home, and garbage is collected at any age."""
    monkeypatch.setenv("CODEINTEL_HOME", str(home.root))
    monkeypatch.setenv("CODEINTEL_GC_MIN_AGE_H", "0")
    monkeypatch.setenv("CODEINTEL_GC_KEEP_LAST", "1")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def demo(git_repo: GitRepo) -> Repo:
    """Source of specimen generations."""
    return git_repo(name="demo")


def run(*arguments: str) -> Result:
    """Run a command; what it raised is raised."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, CodeIntelError):
        raise result.exception
    return result


def test_pin_roll_back_and_collect(home: Home, demo: Repo) -> None:
    ids = [specimen.publish_files(home, demo, files).name for files in (specimen.FILES, _MORE, specimen.FILES)]
    at = home.repository("demo")
    assert run("pin", "demo", ids[0]).stdout == f"demo: {ids[0]} is pinned\n"
    dry = json.loads(run("gc", "demo", "--dry-run", "--json").stdout)
    assert dry["dry_run"] is True
    assert dry["repositories"][0]["removed"] == [ids[1]]
    assert kept(at) == ids
    assert json.loads(run("rollback", "demo", "--json").stdout)["generation"] == ids[1]
    text = run("gc").stdout
    assert f"kept {ids[0]}: pinned" in text
    assert f"kept {ids[1]}: current" in text
    assert kept(at) == ids  # the newest is among the last, the others have their reasons
    assert "no longer pinned" in run("pin", "demo", ids[0], "--remove").stdout
    assert json.loads(run("gc", "--json").stdout)["repositories"][0]["removed"] == [ids[0]]
    assert "may be built again" in run("rollback", "demo", "--resume").stdout
    assert "nothing was held" in run("rollback", "demo", "--resume").stdout


def test_mistakes_are_one_line_and_change_nothing(home: Home, demo: Repo) -> None:
    only = specimen.publish_files(home, demo).name
    for error, arguments in (
        (UnknownRepository, ["pin", "nobody", only]),
        (UnknownRepository, ["gc", "nobody"]),
        (UnknownRepository, ["rollback", "nobody"]),
        (UnknownRepository, ["compact", "nobody"]),
        (UnknownGeneration, ["pin", "demo", "nope"]),
        (UnknownGeneration, ["rollback", "demo"]),
        (UnknownGeneration, ["rollback", "demo", "../x"]),
        (InvalidRequest, ["rollback", "demo", only, "--resume"]),
        (InvalidRequest, ["build"]),
        (InvalidRequest, ["build", "demo", "--all"]),
        (InvalidRequest, ["add"]),
    ):
        with pytest.raises(error) as caught:
            run(*arguments)
        assert "\n" not in str(caught.value)
    assert current_id(home.repository("demo")) == only


def test_the_garbage_job_collects_every_repository(home: Home, demo: Repo) -> None:
    old = specimen.publish_files(home, demo).name
    new = specimen.publish_files(home, demo, _MORE).name
    with runs.instance(home) as instance:
        done = defs.resolve_job_def("collect_garbage").execute_in_process(
            instance=instance, resources={"home": HomeResource(root=str(home.root))}
        )
    assert done.success
    assert kept(home.repository("demo")) == [new] != [old]


def test_freshness_is_judged_by_group_and_never_blocks(home: Home, demo: Repo) -> None:
    specimen.publish_files(home, demo)
    (found,) = groups.freshness(home)
    assert (found.minutes, found.allowed, found.is_kept) == (0.0, 24 * 60.0, True)
    mirror.add(home, str(demo.path), name="demo", group="backend")
    home.groups.write_text('{"backend": 30}')
    demo.commit({"new.py": "x = 1\n"})  # committed in January 2026
    mirror.refresh(home, "demo")
    (found,) = groups.freshness(home)
    assert (found.group, found.allowed, found.is_kept) == ("backend", 30, False)
    with runs.instance(home) as instance:
        done = defs.resolve_job_def("check_freshness").execute_in_process(
            instance=instance, resources={"home": HomeResource(root=str(home.root))}
        )
    (evaluation,) = done.get_asset_check_evaluations()
    assert done.success
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert "backend" in str(evaluation.metadata["late"].value)


def test_registering_many_from_a_file(home: Home, tmp_path: Path, git_repo: GitRepo) -> None:
    one = git_repo({"a.py": "x = 1\n"}, name="one")
    git_repo({"a.py": "x = 1\n"}, name="two")
    listed = tmp_path / "sources" / "repositories.toml"
    listed.write_text(f"""
[[group]]
name = "backend"
max_minutes_behind = 30

[[repository]]
source = "{one.path}"
group = "backend"

[[repository]]
source = "missing"

[[repository]]
source = "two"
name = "second"
branch = "main"
""")
    result = run("add", "--from", str(listed), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert [(entry["name"], bool(entry["error"])) for entry in found] == [("one", False), ("", True), ("second", False)]
    assert home.repository_names() == ["one", "second"]
    assert mirror.registration(home, "one").group == "backend"
    assert json.loads(home.groups.read_text()) == {"backend": 30.0}
    with runs.instance(home) as instance:
        assert set(instance.get_dynamic_partitions("repository")) == {"one", "second"}


@pytest.mark.parametrize(
    "text", ["x", "[[repository]]\nname = 'a'", "[[repository]]\nsource = 'a'\nbranches = 1", "[[group]]\nname = 'a'"]
)
def test_a_registration_file_that_cannot_be_meant(home: Home, tmp_path: Path, text: str) -> None:
    listed = tmp_path / "repositories.toml"
    listed.write_text(text)
    with pytest.raises(InvalidRequest, match=r"repositories\.toml"):
        run("add", "--from", str(listed))
    assert home.repository_names() == []


def test_building_all_goes_on_after_a_failure_and_says_so(
    home: Home, source: Repo, git_repo: GitRepo, capfd: pytest.CaptureFixture[str]
) -> None:
    mirror.add(home, str(git_repo({"a.bin": b"\0\1"}, name="binary").path), name="binary")
    mirror.add(home, str(source.path), name="calculator")
    result = run("build", "--all", "--json")
    assert result.exit_code == 1
    assert [entry["status"] for entry in json.loads(result.stdout)] == ["failed", "published"]
    assert "1 of 2 failed: binary" in result.stderr
    first = current_id(home.repository("calculator"))
    source.commit({"src/more.py": "def more():\n    return 2\n"})
    runs.build(home, "calculator")
    assert json.loads(run("rollback", "calculator", "--json").stdout)["generation"] == first
    assert [entry["status"] for entry in json.loads(run("build", "--all", "--json").stdout)] == ["failed", "held"]
    assert "published generation" in run("build", "calculator").stdout  # who asks by name means it


def test_a_build_without_a_change_starts_no_run_and_loads_no_dagster(home: Home, source: Repo) -> None:
    mirror.add(home, str(source.path), name="calculator")
    assert "published generation" in run("build", "calculator").stdout
    code = (
        "import sys; from codeintel_core.cli import main\n"
        "try: main()\n"
        "finally: print([m for m in ('dagster', 'faiss', 'jnius', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "build", "calculator"], capture_output=True, text=True, check=True
    )
    assert "calculator: up to date, generation" in done.stdout
    assert done.stdout.endswith("[]\n")
    with runs.instance(home) as instance:
        assert instance.get_runs_count() == 1
    generation = home.repository("calculator").generation(str(current_id(home.repository("calculator"))))
    with (generation / "chunks.parquet/part-0000.parquet").open("ab") as file:
        file.write(b"junk")
    assert "published generation" in run("build", "calculator").stdout  # damage is a reason to build
