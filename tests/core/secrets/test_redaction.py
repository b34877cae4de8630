"""Secrets are masked in place: same length, same lines, nothing else; detect-secrets agrees that nothing is left."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.secrets import RedactingFormatter, redact, redact_bytes, redact_values
from tests.core.secrets.planted import HARMLESS, LINES, PASSWORD, TOKENS, private_key

_ORACLE = {
    "plugins_used": [
        {"name": name}
        for name in (
            "AWSKeyDetector AzureStorageKeyDetector BasicAuthDetector DiscordBotTokenDetector GitHubTokenDetector "
            "GitLabTokenDetector JwtTokenDetector MailchimpDetector NpmDetector OpenAIDetector PrivateKeyDetector "
            "PypiTokenDetector SendGridDetector SlackDetector StripeDetector TelegramBotTokenDetector TwilioKeyDetector"
        ).split()
    ]
}


def check_place(before: str, after: str) -> None:
    """Nothing but characters that became `*` differs."""
    assert len(before.encode()) == len(after.encode())
    assert before.count("\n") == after.count("\n")
    assert all(a in ("*", b) for a, b in zip(after, before, strict=True))


def found(text: str, folder: Path) -> set[str]:
    """What detect-secrets finds in the text, but for the markers of private keys, which stay."""
    path = folder / "scanned.txt"
    path.write_text(text)
    with transient_settings(_ORACLE):
        secrets = SecretsCollection()
        secrets.scan_file(str(path))
    return {secret.type for _, secret in secrets}


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_masked_wherever_it_stands(kind: str) -> None:
    for around in ("{}", "x = '{}'", "see {} there", '{{"a": "{}"}}', "curl -H 'k: {}'\n", "é {} é"):
        line = around.format(TOKENS[kind])
        masked, count = redact(line)
        assert count >= 1
        assert TOKENS[kind][-12:] not in masked
        check_place(line, masked)


@pytest.mark.parametrize("kind", LINES)
def test_an_assigned_value_is_masked_and_its_name_stays(kind: str) -> None:
    line, value = LINES[kind]
    for ending in ("\n", "\r\n", ""):
        masked, count = redact(f"# config\n{line.format(value)}{ending}")
        assert masked == f"# config\n{line.format('*' * len(value))}{ending}"
        assert count == 1


def test_private_keys_are_masked_line_by_line() -> None:
    for kind in ("", "RSA ", "OPENSSH ", "EC ", "ENCRYPTED "):
        key = private_key(kind)
        masked, count = redact(f"before\n{key}\nafter\n")
        check_place(f"before\n{key}\nafter\n", masked)
        assert count == 1
        assert masked.splitlines()[2:-2] == ["*" * len(line) for line in key.splitlines()[1:-1]]
        assert masked.startswith(f"before\n-----BEGIN {kind}PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    "quoted",
    [
        lambda key: '"' + key.replace("\n", "\\n") + '"',
        lambda key: "\n".join(f'    "{line}\\n" +' for line in key.splitlines()),
        lambda key: "\n".join(f"    {line}" for line in key.splitlines()),
        lambda key: key.rpartition("-----END")[0],
    ],
    ids=["one string", "concatenated", "indented", "cut off"],
)
def test_private_keys_in_code_are_masked(quoted) -> None:
    source = f"key = {quoted(private_key())}\n"
    masked, count = redact(source)
    check_place(source, masked)
    assert count == 1
    assert not [line for line in private_key().splitlines()[1:-2] if line[:40] in masked]


def test_harmless_lines_stay_as_they_are() -> None:
    for line in HARMLESS.splitlines():
        assert redact(line) == (line, 0)
    assert redact(HARMLESS) == (HARMLESS, 0)


def test_a_second_pass_finds_nothing() -> None:
    lines = [line.format(value) for line, value in LINES.values()]
    masked, count = redact("\n".join([*TOKENS.values(), *lines, private_key()]))
    assert count == len(TOKENS) + len(lines) + 1
    assert redact(masked) == (masked, 0)


def test_detect_secrets_finds_them_before_and_nothing_after(tmp_path: Path) -> None:
    lines = [line.format(value) for line, value in LINES.values()]
    planted = "\n".join([*TOKENS.values(), *lines])
    assert len(found(planted, tmp_path)) >= 14
    assert found(redact(planted)[0], tmp_path) == set()
    assert found(private_key(), tmp_path) == found(redact(private_key())[0], tmp_path) == {"Private Key"}  # the markers


@given(st.binary(max_size=400), st.sampled_from([*TOKENS.values(), private_key()]), st.binary(max_size=400))
def test_any_bytes_keep_their_length_and_lines(before: bytes, secret: str, after: bytes) -> None:
    data = before + b"\n" + secret.encode() + b"\n" + after
    masked, count = redact_bytes(data)
    assert count >= 1
    assert len(masked) == len(data)
    assert secret.encode() not in masked
    assert all(a in (ord("*"), b) for a, b in zip(masked, data, strict=True))


@given(st.text(max_size=300))
def test_ordinary_text_is_not_touched_or_refused(words: str) -> None:
    assert redact(words)[0] == words or "*" in redact(words)[0]


def test_values_of_a_document_are_redacted_and_the_rest_is_kept() -> None:
    token = TOKENS["github"]
    kept = {"n": 3, "ratio": 0.5, "none": None, "ok": True}
    row = {"query": f"who uses {token}?", "list": [{"token": token}], **kept}
    masked = redact_values(row)
    assert masked["query"] == f"who uses {'*' * len(token)}?"
    assert masked["list"] == [{"token": "*" * len(token)}]
    assert {key: masked[key] for key in kept} == kept


def test_logs_are_redacted_with_their_arguments_and_tracebacks() -> None:
    formatter = RedactingFormatter("%(message)s")
    try:
        raise ValueError(f"cannot reach https://me:{PASSWORD}@example.org")
    except ValueError as error:
        exc_info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "token %s", (TOKENS["slack"],), exc_info)
    printed = formatter.format(record)
    assert PASSWORD not in printed
    assert TOKENS["slack"] not in printed
    assert "ValueError: cannot reach" in printed


def test_a_hostile_text_costs_no_time() -> None:
    for hostile in ("password" * 20_000, "a" * 200_000 + ":", "://" * 60_000, "-----BEGIN PRIVATE KEY-----" * 5_000):
        masked, _ = redact(hostile)  # linear: a quadratic rule would meet the suite's time limit
        check_place(hostile, masked)
