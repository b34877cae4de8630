"""One `Services` under all faces: without an encoder or a journal it degrades and says so."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import call
from tenants import Tenant
from workshop import Workshop, settings_for

from codeintel_core.embedding.contract import Encoder
from codeintel_core.errors import InvalidRequest, ModelUnavailable, NotIndexed
from codeintel_core.home import Home
from codeintel_core.indexes import jvm
from codeintel_core.repository import mirror
from codeintel_core.telemetry import metrics
from codeintel_serving.models import SearchRequest
from codeintel_serving.problems import checked, problem_of
from codeintel_serving.readiness import readiness
from codeintel_serving.recording import Caller
from codeintel_serving.services import Services
from tests.conftest import GitRepo

CLI = Caller("cli")


def no_encoder() -> Encoder:
    raise ModelUnavailable("the tokenizer /srv/secret/place/tokenizer.json does not load")


def test_an_empty_home(tmp_path_factory: pytest.TempPathFactory) -> None:
    with Services(settings_for(Home(tmp_path_factory.mktemp("empty"))), encoder=no_encoder) as services:
        with pytest.raises(NotIndexed, match="codeintel add"):
            services.search(SearchRequest(query="x"), CLI)
        assert call(services, "status").repositories == []
        assert readiness(services).state == "down"


@pytest.mark.e2e
def test_without_an_encoder_search_is_lexical_and_says_so(workshop: Workshop) -> None:
    with Services(settings_for(workshop.home), encoder=no_encoder) as services:
        services.warm()
        found = services.search(SearchRequest(query="publish_generation"), CLI)
        assert found.results[0].symbol == "publish_generation"
        assert found.coverage.degraded.keys() == {"dense"}
        assert "/srv/secret" not in found.model_dump_json()
        ready = readiness(services)
        assert (ready.state, ready.checks["encoder"].status) == ("degraded", "down")
        assert "tokenizer.json" in ready.checks["encoder"].reason
        assert "/srv/secret" not in ready.checks["encoder"].reason


@pytest.mark.e2e
def test_a_journal_that_cannot_be_written_costs_no_answer(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = metrics.TRACES_DROPPED._value.get()
    with (
        Path("/dev/full").open("ab", buffering=0) as full,
        Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as services,
    ):
        monkeypatch.setattr(services.journal, "_file_of", lambda _day: full)
        assert services.search(SearchRequest(query="publish"), CLI).results
    assert metrics.TRACES_DROPPED._value.get() == dropped + 1


@pytest.mark.e2e
def test_reading_all_of_a_file(services: Services) -> None:
    (found,) = call(services, "read", targets=["shop:web/cart.js"]).files
    assert (found.start_line, found.end_line, found.total_lines) == (1, 4, 4)
    assert found.text.startswith("// Adds up")


def test_unexpected_errors_show_nothing() -> None:
    found = problem_of(RuntimeError("secret /srv/place"))
    assert (found.status, found.code) == (500, "internal")
    assert "secret" not in found.model_dump_json()


def test_invalid_arguments_become_one_line() -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(SearchRequest, query="", limit=0)
    assert "\n" not in str(caught.value)
    assert "query" in str(caught.value)
    assert "limit" in str(caught.value)


@pytest.mark.e2e
def test_a_server_rehearses_once_and_a_command_never(
    shared: Workshop, tenants: tuple[Tenant, Tenant], caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(shared.home)
    with caplog.at_level("INFO", "codeintel.serving"):
        with Services(settings, encoder=lambda: shared.encoder) as command:
            command.warm()
        assert "rehearsed" not in caplog.text
        with Services(settings, encoder=lambda: shared.encoder) as server:
            server.start()
    assert len(tenants) == 2  # generations that were opened
    assert caplog.text.count("rehearsed ") == 1


@pytest.mark.e2e
def test_a_server_tells_the_jvm_how_much_it_serves(
    shared: Workshop, tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[int] = []
    monkeypatch.setattr(jvm, "expect", expected.append)  # the JVM of this process has started, so it shows no effect
    with Services(settings_for(shared.home), encoder=lambda: shared.encoder) as server:
        server.start()
        chunks = sum(generation.manifest.counts.chunks for generation in server.library.serving())
    (found,) = expected
    assert len(tenants) == 2
    assert chunks <= found <= chunks + 16 * 2


@pytest.mark.parametrize("pointer", ["x" * 5_000, "../../x", "\0"])
def test_a_pointer_that_names_nothing_keeps_no_server_from_starting(
    tmp_path: Path, git_repo: GitRepo, pointer: str
) -> None:
    home = Home(tmp_path / "home")
    mirror.add(home, str(git_repo({"a.py": "a = 1\n"}).path), name="broken")
    home.repository("broken").current.write_text(pointer)
    with Services(settings_for(home), encoder=no_encoder) as services:
        services.start()
        assert readiness(services).state == "down"
