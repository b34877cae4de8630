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
        ("VECTOR_ENGINE", "mysql://here/x"), ("VECTOR_ENGINE", "postgresql://me:a/b@here/x"),
        ("VECTOR_ENGINE", "postgresql://me:a@b@here/x"), ("VECTOR_ENGINE", "postgresql://me:a%b@here/x"),
    ],
)  # fmt: skip
def test_values_outside_their_limits_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"CODEINTEL_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_errors_do_not_repeat_what_may_be_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_VECTOR_ENGINE", "postgres//me:hunter2@here/x")
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://here", "postgres://me@h1:5432,h2:5433/x?target_session_attrs=any", "postgresql:///x?host=/run/pg",
        "postgresql://postgres:@/postgres?host=/tmp/x@y", "postgresql://me:a%40b%2F@[::1]:5432/x",
    ],
)  # fmt: skip
def test_urls_that_libpq_reads_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CODEINTEL_VECTOR_ENGINE", url)
    found = Settings().vector_engine
    assert found is not None
    assert found.get_secret_value() == url
