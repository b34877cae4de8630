"""The documentation cannot drift: README commands and queries are run, settings and problems pages are compared."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import httpx
import pytest

from codeintel_core import errors, schemas
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_pipelines.analytics import database
from codeintel_pipelines.analytics.statements import statements
from codeintel_serving.api.correlation import HTTP_PROBLEMS
from codeintel_serving.services import Services
from tests.conftest import GitRepo
from tests.serving.running import running
from tests.serving.workshop import settings_for

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SOURCE = '''"""Settings of the program."""


def parse_config_file(path):
    """Load settings from a configuration file."""
    return dict(line.split("=") for line in open(path))
'''


ANALYTICS = (ROOT / "docs/analytics.md").read_text()


def _blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= targets


def test_settings_page_lists_every_setting() -> None:
    page = (ROOT / "docs/settings.md").read_text()
    for name, field in Settings.model_fields.items():
        assert f"| `CODEINTEL_{name.upper()}` | `{field.default}` | {field.description} |" in page


def test_problems_page_lists_every_slug() -> None:
    page = (ROOT / "docs/problems.md").read_text()
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, errors.CodeIntelError):
            assert f"| `{error.slug}` | {error.status} |" in page, error.slug


def test_problems_page_lists_what_http_itself_refuses() -> None:
    page = (ROOT / "docs/problems.md").read_text()
    for status, (slug, _, _) in HTTP_PROBLEMS.items():
        assert f"| `{slug}` | {status} |" in page, slug


def test_analytics_page_lists_every_column_report_view_and_macro() -> None:
    for schema in (schemas.ANSWER_TRACES, schemas.FEEDBACK):
        for column in schema:
            assert f"| `{column.name}` | {column.metadata[b'doc'].decode()} |" in ANALYTICS, column.name
    for one in (*database.reports(), *statements("views"), *statements("macros")):
        assert f"| `{one.name}` | {one.description} |" in ANALYTICS, one.name
    for name, description in database.BASE.items():
        assert f"| `{name}` | {description} |" in ANALYTICS, name


def _curl_lines_answer(home: Path) -> None:
    """Send what the README's curl lines send to a real server over the same home."""
    lines = [line for line in "".join(_blocks("sh")).splitlines() if line.startswith("curl")]
    assert len(lines) == 3
    services = Services(settings_for(Home(home)))
    try:
        with running(services) as base:
            for line in lines:
                words = shlex.split(line)
                url = next(word for word in words if word.startswith("127.0.0.1:8321"))
                headers = dict(words[i + 1].split(": ") for i, word in enumerate(words) if word == "-H")
                body = words[words.index("-d") + 1]
                answer = httpx.post(url.replace("127.0.0.1:8321", base), headers=headers, content=body, timeout=60)
                assert answer.status_code == 200, line
                assert "settings.py" in answer.text, line
    finally:
        services.close()


@pytest.mark.e2e
def test_readme_commands_and_queries_run(tmp_path: Path, git_repo: GitRepo) -> None:
    source = git_repo({"settings.py": SOURCE}, name="my-repo")
    commands = [
        line for block in _blocks("sh") for line in block.splitlines() if line.startswith(".venv/bin/codeintel")
    ]
    assert len(commands) >= 6
    home = tmp_path / "home"
    env = {**os.environ, "CODEINTEL_HOME": str(home), "PATH": os.environ["PATH"]}
    for command in commands:
        _, *arguments = shlex.split(command, comments=True)
        arguments = [str(source.path) if argument == "../my-repo" else argument for argument in arguments]
        run = [sys.executable, "-c", "from codeintel_core.cli import main; main()", *arguments]
        done = subprocess.run(run, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        if arguments[0] in ("search", "answer"):
            assert "settings.py:" in done.stdout
    _curl_lines_answer(home)
    with duckdb.connect(str(home / "analytics" / "codeintel.duckdb"), read_only=True) as db:
        queries = "".join(_blocks("sql") + _blocks("sql", ANALYTICS)).split(";")
        assert len(queries) > 10
        for query in filter(str.strip, queries):
            assert db.execute(query).fetchall(), query


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} -> {target}"
