"""API keys: only their hash is kept, they end when revoked or expired, and a damaged file opens nothing."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from codeintel_core.errors import Forbidden, InvalidRequest, RateLimited, StorageFailed, Unauthorized
from codeintel_core.settings import get_settings
from codeintel_core.watched import note_change
from codeintel_serving.access import keys
from codeintel_serving.access.commands import app
from codeintel_serving.access.keys import KeyRing
from codeintel_serving.access.principal import LOCAL, Permission, Principal
from codeintel_serving.access.rates import Rates

READ = [Permission.READ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access" / "keys.json"


def test_a_key_opens_what_it_was_made_for(path: Path) -> None:
    secret, key = keys.create(path, permissions=READ, repos=["shop", "team-*"], label="ada", rate_limit="5/minute")
    principal = KeyRing(path).principal(secret)
    assert (principal.id, principal.rate_limit) == (key.id, "5/minute")
    assert principal.visible(["shop", "shops", "team-a", "bank"]) == ["shop", "team-a"]
    principal.require(Permission.READ)
    with pytest.raises(Forbidden, match="'answer'"):
        principal.require(Permission.ANSWER)


def test_the_file_holds_no_secret_and_is_for_its_owner_only(path: Path) -> None:
    secret, _ = keys.create(path, permissions=READ, repos=["*"])
    assert secret.rsplit("_", 1)[1] not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0


def test_a_ring_sees_new_and_revoked_keys_at_once(path: Path) -> None:
    ring = KeyRing(path)
    assert not ring.is_required
    secret, key = keys.create(path, permissions=READ, repos=["*"])
    assert ring.is_required
    assert ring.principal(secret).id == key.id
    keys.revoke(path, key.id)
    with pytest.raises(Unauthorized):
        ring.principal(secret)
    assert ring.is_required, "revoking the last key must not open the server"


def test_expired_keys_are_refused_in_the_words_of_unknown_ones(path: Path) -> None:
    secret, _ = keys.create(path, permissions=READ, repos=["*"], expires_days=1)
    later = KeyRing(path, clock=lambda: datetime.now(UTC) + timedelta(days=2))
    with pytest.raises(Unauthorized) as expired:
        later.principal(secret)
    with pytest.raises(Unauthorized) as unknown:
        later.principal("ci_000000000000_" + "0" * 64)
    assert str(expired.value) == str(unknown.value)
    assert KeyRing(path).principal(secret)


@given(st.text(max_size=300))
def test_junk_is_never_a_key(tmp_path_factory: pytest.TempPathFactory, junk: str) -> None:
    path = tmp_path_factory.getbasetemp() / "junk" / "keys.json"
    if not path.exists():
        keys.create(path, permissions=READ, repos=["*"])
    with pytest.raises(Unauthorized):
        KeyRing(path).principal(junk)


def test_one_wrong_digit_is_refused(path: Path) -> None:
    secret, _ = keys.create(path, permissions=READ, repos=["*"])
    wrong = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    with pytest.raises(Unauthorized):
        KeyRing(path).principal(wrong)


@pytest.mark.parametrize("damage", ["", "{", '{"format": 1, "keys": [{"id": "x"}]}'])
def test_a_damaged_file_opens_nothing(path: Path, damage: str) -> None:
    secret, _ = keys.create(path, permissions=READ, repos=["*"])
    ring = KeyRing(path)
    ring.principal(secret)
    path.write_text(damage)
    note_change()
    assert ring.is_required
    assert "damaged" in ring.problem
    with pytest.raises(Unauthorized):
        ring.principal(secret)
    with pytest.raises(StorageFailed):
        keys.create(path, permissions=READ, repos=["*"])
    assert path.read_text() == damage


def test_a_running_server_does_not_open_when_the_file_vanishes(path: Path) -> None:
    secret, _ = keys.create(path, permissions=READ, repos=["*"])
    ring = KeyRing(path)
    assert ring.principal(secret)
    path.unlink()
    note_change()
    assert ring.is_required
    with pytest.raises(Unauthorized):
        ring.principal(secret)


def test_keys_made_at_the_same_time_are_all_kept(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: keys.create(path, permissions=READ, repos=["*"]), range(24)))
    assert len({key.id for key in keys.load(path)}) == 24


@pytest.mark.parametrize(
    "wrong", [{"repos": []}, {"repos": ["a/b"]}, {"repos": ["[a]"]}, {"permissions": []}, {"rate_limit": "many"}]
)
def test_what_is_no_key_is_refused(path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        keys.create(path, **{"permissions": READ, "repos": ["*"], **wrong})  # type: ignore[arg-type]
    assert not path.exists()


def test_the_commands_make_list_and_revoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEINTEL_HOME", str(tmp_path))
    get_settings.cache_clear()
    run = CliRunner().invoke
    made = run(app, ["create", "--repo", "shop", "--permission", "read", "--label", "ada", "--days", "3"])
    secret = made.stdout.strip()
    (listed,) = json.loads(run(app, ["list", "--json"]).stdout)
    assert (listed["label"], listed["repos"], listed["state"]) == ("ada", ["shop"], "active")
    assert "sha256" not in listed
    assert run(app, ["revoke", secret]).exit_code == 0
    assert "revoked" in run(app, ["list"]).stdout
    assert isinstance(run(app, ["revoke", "nobody"]).exception, InvalidRequest)


def test_rates_bound_each_caller_alone() -> None:
    rates = Rates()
    for _ in range(3):
        rates.count("key a", "3/hour")
    with pytest.raises(RateLimited, match="more than 3/hour") as refused:
        rates.count("key a", "3/hour")
    assert 1 <= refused.value.retry_after_s <= 3600
    rates.count("key b", "3/hour")


@given(st.lists(st.from_regex(r"[a-z0-9._-]{1,12}", fullmatch=True)), st.lists(st.sampled_from(["a*", "b?", "shop"])))
def test_what_is_visible_is_seen(names: list[str], globs: list[str]) -> None:
    principal = Principal("x", frozenset(), tuple(globs))
    assert principal.visible(names) == [name for name in names if principal.sees(name)]
    assert LOCAL.visible(names) == names
