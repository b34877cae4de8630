"""The same question of an older generation: REST, MCP and the CLI answer from it, and say what is kept when it is not.

Also what `status`, `generations` and `diff` tell about a repository with a history.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from calling import call
from fastmcp import Client
from running import running
from typer.testing import CliRunner
from workshop import FILES, Workshop, commit, new_repository, settings_for

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.errors import UnknownFile, UnknownGeneration
from codeintel_core.generations import retention
from codeintel_core.generations.manifest import Manifest
from codeintel_core.generations.rollback import resume, roll_back
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_core.settings import get_settings
from codeintel_serving.cli import app
from codeintel_serving.mcp.server import create_mcp
from codeintel_serving.readiness import readiness
from codeintel_serving.services import Services

pytestmark = pytest.mark.e2e
_NEW = {"store/rotate.py": "def rotate_everything():\n    return 'rotated'\n"}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> tuple[Workshop, Manifest, Manifest]:
    """A home of its own with two generations of two commits."""
    source = new_repository(tmp_path_factory.mktemp("sources") / "shop", FILES)
    workshop = Workshop(Home(tmp_path_factory.mktemp("home")), encoder)
    mirror.add(workshop.home, str(source), name="shop", group="web")
    old = workshop.build("shop")
    commit(source, _NEW)
    return workshop, old, workshop.build("shop")


@pytest.fixture(scope="module")
def server(history: tuple[Workshop, Manifest, Manifest]) -> Iterator[Services]:
    workshop = history[0]
    with Services(settings_for(workshop.home, dense_device="gpu"), encoder=lambda: workshop.encoder) as wired:
        wired.start()
        yield wired


def test_rest_answers_from_the_asked_generation(server: Services, history: tuple[Workshop, Manifest, Manifest]) -> None:
    _, old, new = history
    with running(server) as url, httpx.Client(base_url=url, timeout=60) as http:

        def search(**scope: Any) -> httpx.Response:
            return http.post("/search", json={"query": "rotate_everything", "mode": "lexical", "scope": scope})

        now, then = search().json(), search(as_of=old.gen_id).json()
        assert now["results"][0]["path"] == "store/rotate.py"
        assert now["index"][0]["generation"] == new.gen_id
        assert "store/rotate.py" not in [hit["path"] for hit in then["results"]]
        assert then["index"][0]["generation"] == old.gen_id
        assert (then["index"][0]["status"], then["index"][0]["commits_behind"]) == ("behind", 1)
        assert then["index"][0]["minutes_behind"] >= 0
        for when in (old.commit, old.commit[:8], old.created_at.isoformat()):
            assert search(as_of=when).json()["index"][0]["generation"] == old.gen_id
        question = {"question": "how is a generation published?", "scope": {"as_of": old.commit}}
        answer = http.post("/answer", json=question)
        assert {cited["generation"] for cited in answer.json()["citations"]} == {old.gen_id}

        def read(**scope: Any) -> httpx.Response:
            return http.post("/read", json={"targets": ["shop:store/rotate.py"], "scope": scope})

        assert read().json()["files"][0]["generation"] == new.gen_id
        absent = read(as_of=old.gen_id)
        assert (absent.status_code, absent.json()["code"]) == (404, "unknown-file")
        never = read(as_of="1999-01-01")
        assert (never.status_code, never.json()["code"]) == (404, "unknown-generation")
        assert read(as_of="yesterday").status_code == 422
        refused = search(as_of="1999-01-01")
        assert (refused.status_code, refused.json()["code"]) == (404, "unknown-generation")
        assert old.gen_id in refused.json()["detail"] and new.gen_id in refused.json()["detail"]
        for wrong, status in (("yesterday", 422), ("x" * 101, 422), ("../../etc", 422)):
            assert search(as_of=wrong).status_code == status


def test_mcp_takes_the_same_scope(server: Services, history: tuple[Workshop, Manifest, Manifest]) -> None:
    old = history[1]

    async def ask(when: str) -> Any:
        async with Client(create_mcp(server)) as client:
            arguments = {"query": "publish_generation", "scope": {"as_of": when}}
            return await client.call_tool("search", arguments, raise_on_error=False)

    found = asyncio.run(ask(old.gen_id))
    assert found.structured_content["index"][0]["generation"] == old.gen_id
    refused = asyncio.run(ask("1999-01-01"))
    assert refused.is_error
    assert refused.structured_content["code"] == "unknown-generation"

    async def read(when: str, path: str) -> Any:
        async with Client(create_mcp(server)) as client:
            arguments = {"targets": [f"shop:{path}"], "scope": {"as_of": when}}
            return await client.call_tool("read", arguments, raise_on_error=False)

    kept = next(iter(FILES))
    (index,) = asyncio.run(read(old.commit, kept)).structured_content["index"]
    assert (index["generation"], index["commit"]) == (old.gen_id, old.commit)
    assert asyncio.run(read(old.gen_id, "store/rotate.py")).structured_content["code"] == "unknown-file"
    assert asyncio.run(read("x" * 101, kept)).structured_content["code"] == "invalid-request"


def test_status_names_group_device_and_a_roll_back(
    server: Services, history: tuple[Workshop, Manifest, Manifest]
) -> None:
    workshop, _, newest = history
    (state,) = call(server, "status").repositories
    assert (state.group, state.held) == ("web", "")
    assert state.dense_device.startswith("cpu (")  # a GPU is asked for and there is none
    ready = readiness(server)
    assert (ready.state, ready.checks["dense_device"].status) == ("degraded", "degraded")
    roll_back(workshop.home, "shop")
    (state,) = call(server, "status").repositories
    assert "rolled back from" in state.held
    resume(workshop.home, "shop")
    roll_back(workshop.home, "shop", newest.gen_id)


@pytest.fixture
def configured(history: tuple[Workshop, Manifest, Manifest], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The commands use the home with a history."""
    root = history[0].home.root
    monkeypatch.setenv("CODEINTEL_HOME", str(root))
    monkeypatch.setenv("CODEINTEL_RETRIEVAL_BUDGET_MS", "20000")
    monkeypatch.setenv("CODEINTEL_ANSWER_BUDGET_MS", "60000")
    get_settings.cache_clear()
    yield root
    get_settings.cache_clear()


def _json(*arguments: str) -> Any:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("configured")
def test_the_commands(history: tuple[Workshop, Manifest, Manifest]) -> None:
    workshop, old, new = history
    found = _json("search", "--as-of", old.commit[:10], "publish_generation")
    assert found["index"][0]["generation"] == old.gen_id
    assert _json("answer", "--as-of", old.gen_id, "how is a generation published?")["index"][0]["commit"] == old.commit
    read = _json("read", "shop:store/rotate.py:1-1")
    assert read["index"][0]["generation"] == new.gen_id
    assert [text["text"] for text in read["files"]] == ["def rotate_everything():"]
    plain = CliRunner().invoke(app, ["read", "shop:store/rotate.py:2"])
    assert "    return 'rotated'" in plain.stdout
    assert isinstance(
        CliRunner().invoke(app, ["read", "--as-of", old.commit, "shop:store/rotate.py"]).exception, UnknownFile
    )
    refused = CliRunner().invoke(app, ["search", "--as-of", "1999-01-01", "x"])
    assert isinstance(refused.exception, UnknownGeneration)

    retention.pin(workshop.home.repository("shop"), old.gen_id)
    listed = _json("generations", "shop")
    assert [(g["generation"], g["current"], g["pinned"]) for g in listed] == [
        (old.gen_id, False, True),
        (new.gen_id, True, False),
    ]
    assert listed[1]["counts"] == new.counts.model_dump()
    lines = CliRunner().invoke(app, ["generations", "shop"]).stdout.splitlines()
    assert lines[0].startswith(f"{old.gen_id}  {old.commit[:10]}  ") and "pinned" in lines[0]
    assert "current" in lines[1]

    by_spans = ["diff", "--unit", "spans", "--repo", "shop", old.gen_id]
    changed = _json(*by_spans, new.commit)
    assert [(span["change"], span["new"]["path"]) for span in changed["spans"]] == [("added", "store/rotate.py")]
    assert (changed["deletions"], changed["unchanged"]) == (0, old.counts.chunks)
    assert CliRunner().invoke(app, [*by_spans, new.gen_id]).stdout.startswith("+ store/rotate.py:1-2")
