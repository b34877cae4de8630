"""Settings: each is read from its variable, an empty variable counts as unset, limits are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from codeintel_core.settings import Settings


def test_variables_are_read_and_the_home_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CODEINTEL_HOME", "here")
    monkeypatch.setenv("CODEINTEL_PORT", "99")
    assert Settings().home == tmp_path / "here"
    assert Settings().port == 99


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_HOME", "")
    monkeypatch.setenv("CODEINTEL_PORT", "")
    assert Settings().home.name == ".codeintel"
    assert Settings().port == 8321


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"), ("PORT", "x"), ("MAX_PER_FILE", "1e9"), ("HOME", "~nobody-here/x"),
        ("VECTOR_ENGINE", "mysql://here/x"),
    ],
)  # fmt: skip
def test_values_outside_their_limits_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CODEINTEL_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()
