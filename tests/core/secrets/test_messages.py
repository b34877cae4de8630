"""Messages: whatever looks like a credential goes, however short. Rows as JSON are redacted as their values are."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.secrets import redact_values, redacted_json, without_secrets, without_users
from tests.core.secrets.planted import HARMLESS, LINES, TOKENS, private_key


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad key sk-abc123 sent", "bad key *** sent"),
        ("Authorization: Bearer abcdef", "Authorization: Bearer ***"),
        ("token='abcd', n=3", "token='***', n=3"),
        ("at https://ada:s3/cr@et@example.org/x: refused", "at https://***@example.org/x: refused"),
        (f"{private_key()} after", "*** after"),
        ("\ud800 password=abcdef", "\ud800 password=***"),
        ("a token_count of 3", "a token_count of 3"),
    ],
)
def test_what_looks_like_a_credential_goes(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


@pytest.mark.parametrize("kind", TOKENS)
def test_what_is_masked_in_files_is_masked_in_messages(kind: str) -> None:
    assert TOKENS[kind] not in without_secrets(f"says {TOKENS[kind]} twice")


def test_users_of_addresses_go_and_names_stay() -> None:
    assert without_users("https://ada:x@example.org/ci-pipeline.git") == "https://***@example.org/ci-pipeline.git"
    assert without_users("/srv/ci-pipeline") == "/srv/ci-pipeline"


def test_long_hostile_texts_are_looked_at_once() -> None:
    for text in (
        "://" * 100_000,
        "a" * 300_000 + "://",
        "://a:" * 60_000,
        "token" * 60_000,
    ):  # or the time limit says so
        assert without_secrets(text) == text


_TEXTS = st.sampled_from([*TOKENS.values(), *(line.format("Zx9-q7Rt2_Lm4W") for line in LINES), HARMLESS, 'a "b"\n'])


@given(
    st.dictionaries(
        st.sampled_from(["query", "tokens_in", "path"]), st.one_of(_TEXTS, st.lists(_TEXTS), st.integers(0, 9))
    )
)
def test_a_row_as_json_is_that_of_its_redacted_values(row: dict[str, object]) -> None:
    assert orjson.loads(redacted_json(row)) == redact_values(row)
