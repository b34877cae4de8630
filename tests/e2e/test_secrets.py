"""Secrets planted in a repository, a query and the environment are nowhere in the home; a purge takes the rest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from typer.testing import CliRunner

from codeintel_core.errors import BuildFailed, InvalidRequest, NotIndexed, UnknownFile, UnknownGeneration
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.publish import current_id
from codeintel_core.generations.reader import kept
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings, get_settings
from codeintel_pipelines import runs
from codeintel_pipelines.cli import app
from codeintel_pipelines.purge import find, needle, stores
from codeintel_serving.answer import orchestrator
from codeintel_serving.models import AnswerRequest, SearchRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.conftest import GitRepo, Repo
from tests.core.secrets.planted import LINES, TOKENS, private_key, text
from tests.serving.calling import call
from tests.serving.running import until

pytestmark = pytest.mark.e2e

IN_ENV_FILE, IN_QUERY, IN_ENVIRONMENT = text(90, 24), "ghp" + "_" + text(91, 36), text(92, 40)
CODENAME = "operation nightingale protocol"
TICKET = "TICKET-" + "402117"
UNSAID = "The gardener of Nightingale Heath waters roses at midnight."
FILES = {
    "src/settings.py": "def planted_settings():\n"
    + "".join(f"    # {name}\n    {line.format(value)}\n" for name, (line, value) in LINES.items()),
    "src/tokens.txt": "\n".join(TOKENS.values()) + "\n",
    "src/server.go": f"package server\n\nconst key = `{private_key()}`\n\nfunc ServeQuietly() error {{ return nil }}\n",
    "deploy/.env": f"DEPLOY_KEY={IN_ENV_FILE}\n",
    "src/plans.py": f'def launch_secret_project():\n    """Start {CODENAME} now."""\n    return "{CODENAME}"\n',
    "docs/garden.md": f"# Garden\n\n{UNSAID}\n",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported models, written once."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def home(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """An empty home that the commands use."""
    root = tmp_path / "home"
    root.mkdir()
    (root / "models").symlink_to(models)
    monkeypatch.setenv("CODEINTEL_HOME", str(root))
    monkeypatch.setenv("CODEINTEL_RERANK_API_KEY", IN_ENVIRONMENT)
    get_settings.cache_clear()
    yield Home(root)
    get_settings.cache_clear()


@pytest.fixture
def source(git_repo: GitRepo) -> Repo:
    """A repository with secrets in it."""
    return git_repo(FILES, name="garden")


def ask(home: Home, *queries: str) -> None:
    """Search and ask for each query, as a client would."""
    settings = Settings(home=home.root, retrieval_budget_ms=20_000, answer_budget_ms=60_000)
    with Services(settings) as services:
        for query in queries:
            services.search(SearchRequest(query=query), Caller("rest"))
            asyncio.run(orchestrator.answer(services, AnswerRequest(question=query), Caller("rest")))


def said(home: Home) -> dict[str, str]:
    """What the tools that show text say of the planted files."""
    asked: dict[str, dict[str, Any]] = {
        "search": {"query": "planted_settings"},
        "grep": {"pattern": ".", "regex": True, "context": 3},
        "symbols": {"name": "planted_settings", "relation": "both"},
        "read": {"targets": ["src/settings.py", "src/tokens.txt", "src/server.go"]},
        "overview": {},
        "history": {"diff": True},
        "blame": {"path": "src/settings.py"},
    }
    with Services(Settings(home=home.root, retrieval_budget_ms=20_000)) as services:
        return {
            tool: call(services, tool, **arguments, max_tokens=20_000).model_dump_json()
            for tool, arguments in asked.items()
        }


def places(home: Home, wanted: str) -> list[str]:
    """Where a text is in the home: raw bytes and decoded tables, of generations and everything else."""
    target = find.Target(needle.of_text(wanted))
    files = [path for path in find.other_files(home) if stores.occurrences(path, target.needle)]
    return [str(path) for path in files] + [
        str(folder)
        for repository, folder in find.generations(home)
        if find.is_dirty(repository, folder, target) or find.leaking_terms(folder, {wanted})
    ]


def served(home: Home) -> Generation:
    """The served generation, verified and open."""
    repository = home.repository("garden")
    gen_id = current_id(repository)
    assert gen_id is not None
    return Generation.open(repository.generation(gen_id), repository.mirror)


def purge(*arguments: str, code: int = 0) -> dict[str, object]:
    """The report of `codeintel purge`."""
    result = CliRunner().invoke(app, ["purge", *arguments, "--json"])
    if isinstance(result.exception, InvalidRequest):
        raise result.exception
    assert result.exit_code == code, result.output
    report: dict[str, object] = json.loads(result.stdout.strip().splitlines()[-1])
    return report


def test_planted_secrets_are_nowhere_and_a_purge_removes_what_looked_harmless(home: Home, source: Repo) -> None:
    mirror.add(home, str(source.path), name="garden")
    manifest = runs.build(home, "garden")
    assert manifest.coverage["denied"] == 1
    assert manifest.redacted == {"values": len(LINES) + len(TOKENS) + 1, "files": 3}
    ask(home, f"where is {IN_QUERY} used?", "planted_settings", CODENAME, "who waters roses at midnight?")
    runs.refresh_analytics(home)
    canaries = [value for _, value in LINES.values()] + list(TOKENS.values()) + private_key().splitlines()[1:-2]
    for canary in [*canaries, IN_ENV_FILE, IN_QUERY, IN_ENVIRONMENT]:
        assert places(home, canary) == [], canary
    generation = served(home)
    scope = Scope(paths=("src/settings.py",))
    ids = generation.catalog.allowed_ids(scope)
    assert ids is not None
    chunks = generation.catalog.hydrate(ids.tolist(), scope)
    assert chunks
    assert all(generation.matches_source(chunk) for chunk in chunks.values())
    shown = said(home)
    for tool in ("search", "grep", "read", "symbols", "history"):
        assert "planted_settings" in shown[tool], tool
    for canary in [*canaries, IN_ENV_FILE]:
        assert [tool for tool, text in shown.items() if canary in text] == [], canary

    # what no rule can know is there, until it is purged
    assert len(places(home, CODENAME)) >= 3  # generation, trace journal, tables
    planned = purge("--text", CODENAME)
    assert planned["generations"] == {"garden": [manifest.gen_id]}
    assert planned["in_source"] == {"garden": 1}
    assert current_id(home.repository("garden")) == manifest.gen_id
    report = purge("--text", CODENAME, "--yes")
    assert report["left"] == []
    assert report["vectors"]
    assert places(home, CODENAME) == []
    assert manifest.gen_id not in kept(home.repository("garden"))
    generation = served(home)
    assert f"*{CODENAME[-3:]}" not in (generation.read_file("src/plans.py") or b"").decode()
    assert b"launch_secret_project" in (generation.read_file("src/plans.py") or b"")

    # it does not come back with another commit, and a file can be purged as a whole
    source.commit({"src/more.py": f'def another_plan():\n    """Also {CODENAME}."""\n', "docs/garden.md": None})
    clean = runs.build(home, "garden")
    assert places(home, CODENAME) == []
    report = purge("garden", "--path", "docs/garden.md", "--yes")
    assert report["generations"] == {"garden": [clean.parent, clean.gen_id]}  # whose Lucene has it, marked as deleted
    assert report["left"] == []
    assert places(home, UNSAID) == []
    source.commit({"docs/garden.md": FILES["docs/garden.md"]})
    runs.build(home, "garden")
    file = served(home).catalog.file("docs/garden.md")
    assert file is not None
    assert file.skip_reason == "purged"


def test_a_running_server_shows_nothing_of_what_is_purged(
    home: Home, git_repo: GitRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pattern, by blob and by path; the last one so that no generation is left."""
    files = {
        "src/plans.py": f'def nightly_plan():\n    """See {TICKET} for the plan."""\n',
        "docs/garden.md": f"# Garden\n\n{UNSAID}\n",
        "docs/meadow.md": "# Meadow\n\nThe meadow of Nightingale Heath is mown by the moon.\n",
    }
    source = git_repo(files, name="garden")
    mirror.add(home, str(source.path), name="garden")
    first = runs.build(home, "garden")
    settings = Settings(home=home.root, retrieval_budget_ms=20_000, watch_interval_s=0.05)
    with Services(settings) as services:
        services.start()
        reader = services.library.reader("garden")

        def shown(**scope: str) -> str:
            asked: dict[str, dict[str, Any]] = {
                "search": {"query": "nightly_plan garden meadow"},
                "grep": {"pattern": ".", "regex": True},
                "tree": {"depth": 9},
                "history": {"diff": True},
                "overview": {},
            }
            return "".join(call(services, name, **more, scope=scope).model_dump_json() for name, more in asked.items())

        def swapped() -> bool:
            return reader.serving is not None and reader.serving.manifest.gen_id == current_id(reader._home)

        before = shown()
        assert all(text in before for text in (TICKET, UNSAID, "mown by the moon"))
        assert TICKET in shown(as_of=first.gen_id)

        report = purge("--pattern", "TICKET-[0-9]{6}", "--yes")
        assert (report["left"], report["generations"]) == ([], {"garden": [first.gen_id]})
        until(swapped)
        after = shown()
        assert TICKET not in after
        assert UNSAID in after
        with pytest.raises(UnknownGeneration):
            shown(as_of=first.gen_id)
        assert places(home, TICKET) == []

        source.commit({"docs/garden.md": None, "docs/moved.md": files["docs/garden.md"]})
        blob = source.git("rev-parse", "HEAD:docs/moved.md")
        report = purge("--blob", blob, "--yes")  # rebuilds at the new commit, where it has another name
        assert report["left"] == []
        until(swapped)
        assert '"skipped":{"purged":1}' in shown()
        assert UNSAID not in shown()
        assert places(home, UNSAID) == []

        # While a rebuild is going on, the entry alone counts; and when it fails, nothing is left to serve.
        def fail(home: Home, name: str, *, force: bool) -> NoReturn:
            with pytest.raises(UnknownFile):
                call(services, "read", targets=["docs/meadow.md"])
            assert "mown by the moon" not in call(services, "grep", pattern="moon").model_dump_json()
            raise BuildFailed(f"{name} cannot be built")

        monkeypatch.setattr(runs, "build", fail)
        report = purge("garden", "--path", "docs/meadow.md", "--yes")
        assert report["rebuilt"] == {"garden": "nothing; not rebuilt: garden cannot be built"}
        until(lambda: reader.serving is None)
        with pytest.raises(NotIndexed):
            shown()


def test_a_purge_that_cannot_be_meant_is_refused(home: Home, source: Repo) -> None:
    mirror.add(home, str(source.path), name="garden")
    for arguments, message in (
        ([], "exactly one|one of --text"),
        (["--text", "short"], "8 characters"),
        (["--text", "two\nlines are long"], "one line"),
        (["--pattern", "(unclosed"], "RE2"),
        (["--pattern", "x*"], "empty text"),
        (["--pattern", "nightingale"], "matches itself"),
        (["--path", "a.py"], "name the repository"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            purge(*arguments)
    assert not home.purged.exists()
