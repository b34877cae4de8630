"""The commands print what scripts and people rely on; importing them costs next to nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from running import until
from typer.testing import CliRunner, Result
from workshop import Workshop

from codeintel_core.errors import (
    ChannelUnavailable,
    CodeIntelError,
    InvalidPattern,
    InvalidRequest,
    NotIndexed,
    UnknownRepository,
)
from codeintel_core.settings import get_settings
from codeintel_serving.access.listening import listen
from codeintel_serving.cli import app
from codeintel_serving.tool_parameters import command_of
from tests.fake_endpoint import FakeEndpoint, completion, said, streamed


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """The configured home: the workshop's for e2e tests, an absent one otherwise."""
    is_e2e = request.node.get_closest_marker("e2e") is not None
    place = request.getfixturevalue("workshop").home.root if is_e2e else tmp_path / "absent"
    monkeypatch.setenv("CODEINTEL_HOME", str(place))
    monkeypatch.setenv("CODEINTEL_RETRIEVAL_BUDGET_MS", "20000")
    monkeypatch.setenv("CODEINTEL_ANSWER_BUDGET_MS", "60000")
    get_settings.cache_clear()
    yield place
    get_settings.cache_clear()


def invoke(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result


def failure(*arguments: str) -> Exception:
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, CodeIntelError), result.output
    assert "\n" not in str(result.exception)
    return result.exception


def test_flags_have_their_plain_opposites() -> None:
    opposites = {option.opts[0]: option.secondary_opts for option in command_of("history").params}
    assert opposites["--diff"] == ["--no-diff"]
    assert opposites["--include-tests"] == ["--no-tests"]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import atexit, sys; from codeintel_core.cli import main; sys.argv = ['codeintel', '--help'];"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Answer a question" in done.stdout
    heavy = {"numpy", "duckdb", "pydantic", "fastapi", "fastmcp", "uvicorn", "pyarrow", "opentelemetry", "dagster"}
    assert not (heavy | {"rich", "re2", "prometheus_client"}) & set(done.stderr.split())


@pytest.mark.e2e
def test_serving_knows_neither_pipelines_nor_dagster() -> None:
    code = "import sys, codeintel_serving.api.app, codeintel_serving.commands; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"dagster", "codeintel_pipelines", "torch", "faiss", "jnius"} & set(loaded)


def test_a_missing_home_names_the_fix(home: Path) -> None:
    for command in (["search", "x"], ["answer", "x"], ["status"], ["serve"]):
        error = failure(*command)
        assert isinstance(error, NotIndexed)
        assert "codeintel add" in str(error)
    assert not home.exists()


def test_doctor_names_fixes_and_creates_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads(invoke("doctor", "--json").stdout)
    assert [f["name"] for f in report][:2] == ["python", "git"]
    assert invoke("doctor", "--quiet").stdout == ""
    monkeypatch.setenv("PATH", "")
    failed = CliRunner().invoke(app, ["doctor", "--quiet"])
    assert failed.exit_code == 1
    assert failed.stdout.startswith("FAIL  git")
    assert "install git" in failed.stdout
    assert not home.exists()


@pytest.mark.e2e
@pytest.mark.usefixtures("home")
class TestWithAnIndex:
    def test_search_lines_start_with_the_place(self) -> None:
        lines = invoke("search", "--repo", "shop", "--limit", "2", "publish_generation").stdout.splitlines()
        assert lines[0].startswith("store/publish.py:6-10  publish_generation  ")
        assert len(lines) == 2

    def test_search_filters(self) -> None:
        by_path = invoke("search", "--path", "web/**", "publish").stdout
        assert by_path.startswith("web/cart.js:")
        assert invoke("search", "--language", "javascript", "publish").stdout == by_path

    def test_search_json_and_verbose(self) -> None:
        result = invoke("search", "--json", "--verbose", "--mode", "lexical", "publish_generation")
        assert json.loads(result.stdout)["results"][0]["symbol"] == "publish_generation"
        assert "retrieve.lexical" in result.stderr

    def test_search_explains_its_scores(self) -> None:
        lines = invoke("search", "--explain", "--limit", "1", "publish_generation").stdout.splitlines()
        assert lines[0].startswith("store/publish.py:6-10  publish_generation  ")
        table = [line.split() for line in lines[1:]]
        assert {row[0] for row in table} >= {"lexical", "dense", "fused", "defines"}
        sums = [float(row[-1]) for row in table if row[0] not in ("lexical", "dense", "symbols")]
        assert sums[-1] == pytest.approx(sum(sums[:-1]), abs=1e-3)  # = score
        assert table[-1][:2] == ["=", "score"]

    def test_search_by_pattern(self) -> None:
        (line,) = invoke("search", "--mode", "regex", r"os\.(fsync|rename)").stdout.splitlines()
        assert line.startswith("store/publish.py:6-10  publish_generation  ")
        assert line.endswith("  lines 8,9")
        assert isinstance(failure("search", "--mode", "regex", "(" * 3), InvalidPattern)
        assert isinstance(failure("search", "--mode", "sparse", "x"), ChannelUnavailable)

    def test_answer_prints_verified_citations(self) -> None:
        lines = invoke("answer", "--repo", "shop", "how is a generation published?").stdout.splitlines()
        assert any(line.startswith("[1] store/publish.py:6-10 publish_generation (verified, ") for line in lines)

    def test_an_answer_is_printed_as_it_is_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        models = said({"data": [{"id": "fake", "max_model_len": 8_192}]})
        text = streamed(completion(["It is renamed", " in one step", " [1]."]))
        with FakeEndpoint({"/v1/models": models, "/v1/chat/completions": text}) as chat:
            monkeypatch.setenv("CODEINTEL_CHAT_BASE_URL", chat.url)
            monkeypatch.setenv("CODEINTEL_CHAT_MODEL", "fake")
            get_settings.cache_clear()
            result = invoke("answer", "--verbose", "how is a generation published?")
        assert result.stdout.startswith("It is renamed in one step [1].\n\n[1] store/publish.py:")
        # Both streams in the order of writing: stages that ended before, the text, the stage that wrote it.
        order = [result.output.index(part) for part in ("cite.verify", "It is renamed", "synthesize", "confidence")]
        assert order == sorted(order)

    def test_status(self, workshop: Workshop) -> None:
        text = invoke("status").stdout
        assert text.startswith("shop\n")
        for label in ("generation", "commit", "built", "commits behind", "chunks", "sparse", "secondary ratio"):
            assert label in text
        assert "binary 1" in text
        found: dict[str, Any] = json.loads(invoke("status", "--json").stdout)
        assert found["repositories"][0]["files"] == 5

    def test_bad_input_is_one_line(self) -> None:
        assert isinstance(failure("search", "--repo", "nope", "x"), UnknownRepository)
        assert isinstance(failure("status", "--repo", "nope"), UnknownRepository)
        assert isinstance(failure("answer", ""), InvalidRequest)
        assert isinstance(failure("answer", "x" * 100_000), InvalidRequest)
        assert isinstance(failure("search", "--mode", "psychic", "x"), InvalidRequest)
        assert isinstance(failure("serve", "--host", "0.0.0.0"), InvalidRequest)
        with listen("127.0.0.1", 0) as taken:
            assert "--port" in str(failure("serve", "--port", str(taken.getsockname()[1])))

    @pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
    def test_serve_runs_until_stopped_and_logs_to_stderr(self, stop: signal.Signals) -> None:
        with listen("127.0.0.1", 0) as probe:
            port = probe.getsockname()[1]
        command = [sys.executable, "-c", "from codeintel_serving.cli import app; app()", "serve", "--port", str(port)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
        ) as server:
            until(lambda: server.poll() is not None or is_live(port), 120)
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").json()["state"] == "ready"
            server.send_signal(stop)
            out, err = server.communicate(timeout=120)
        assert (server.returncode, out) == (0, "")
        assert f"serving on http://127.0.0.1:{port}" in err


def is_live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
    except httpx.TransportError:
        return False
