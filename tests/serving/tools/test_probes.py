"""Guessing at a secret tells nothing: two repositories that differ in a masked value alone give the same answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from calling import call
from workshop import Workshop, commit, new_repository, settings_for

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_serving.models import Model
from codeintel_serving.services import Services
from tests.core.secrets.planted import text

pytestmark = pytest.mark.e2e
SECRETS = {"amber": text(301, 24), "brass": text(302, 24)}
LINE = 'api_key = "{}"\n'
OF_THE_REPOSITORY = frozenset(
    (
        "id repo repos commit generation blob index run_id trace_id stages coverage score date authored_at committed_at"
    ).split()
)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> Workshop:
    """Both repositories: the secret comes, is replaced, and comes back."""
    built = Workshop(Home(tmp_path_factory.mktemp("home")), encoder)
    for name, secret in SECRETS.items():
        line = LINE.format(secret)
        folder = new_repository(tmp_path_factory.mktemp("sources") / name, {"src/keys.py": f"# keys\n{line}"})
        commit(folder, {"src/keys.py": "# keys\n" + LINE.format(text(303, 24))}, f"not {LINE.format(secret).strip()}")
        commit(folder, {"src/keys.py": f"# keys\n{line}\n\ndef opened():\n    return api_key\n"}, "back")
        mirror.add(built.home, str(folder), name=name)
        built.build(name)
    return built


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: comparable(inner) for name, inner in value.items() if name not in OF_THE_REPOSITORY}
    if isinstance(value, str):
        return re.sub(r"\b[0-9a-f]{10,40}\b", "id", value)
    return [comparable(inner) for inner in value] if isinstance(value, list) else value


def probes(guess: str) -> list[tuple[str, dict[str, Any]]]:
    escaped = guess.replace("+", "\\+")
    return [
        ("grep", {"pattern": guess}),
        ("grep", {"pattern": escaped, "regex": True, "case": False}),
        ("search", {"query": guess, "mode": "exact"}),
        ("search", {"query": escaped, "mode": "regex"}),
        ("search", {"query": guess, "mode": "lexical"}),
        ("symbols", {"pattern": f".*{escaped}.*", "relation": "both"}),
        ("symbols", {"name": guess}),
        ("history", {"text": guess, "diff": True}),
        ("history", {"text": LINE.format(guess)[: len(guess) + 11], "path": "src/keys.py"}),
        ("history", {"author": guess}),
        ("overview", {"focus": guess}),
        ("diff", {"old": "HEAD~1"}),
        ("blame", {"path": "src/keys.py"}),
        ("read", {"targets": ["src/keys.py"]}),
    ]


@pytest.mark.parametrize("length", [5, 24])
def test_an_answer_does_not_depend_on_a_secret(vault: Workshop, length: int) -> None:
    with Services(settings_for(vault.home), encoder=lambda: vault.encoder) as services:
        for tool, arguments in probes(SECRETS["amber"][:length]):
            amber, brass = (call(services, tool, **arguments, scope={"repos": [name]}) for name in SECRETS)
            assert isinstance(amber, Model)
            assert comparable(amber.model_dump()) == comparable(brass.model_dump()), (tool, arguments)
        found = call(services, "history", text="api_key = ", scope={"repos": ["amber"]})
        assert len(found.commits) == 3  # what is shown is found
