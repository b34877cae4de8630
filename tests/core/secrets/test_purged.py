"""The purge list knows a text again without holding it, and masks it wherever it stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_core.secrets import purged, redact_bytes
from codeintel_core.secrets.fingerprint import Fingerprint
from codeintel_core.secrets.purged import PurgeList
from tests.core.secrets.planted import PASSWORD, private_key

_BYTES = st.binary(max_size=300)
_LINE = f'password = "{PASSWORD}"  # of ada'
_KEY = private_key()


@given(_BYTES, st.binary(min_size=1, max_size=40), _BYTES)
def test_a_text_is_found_wherever_it_stands(before: bytes, text: bytes, after: bytes) -> None:
    data = before + text + after
    expected, at = [], data.find(text)
    while at >= 0:
        expected.append(at)
        at = data.find(text, at + len(text))
    assert Fingerprint.of(text).find(data) == expected


@given(_BYTES, st.binary(min_size=4, max_size=40))
def test_nothing_else_is_found(data: bytes, text: bytes) -> None:
    assert (Fingerprint.of(text).find(data) != []) == (text in data)


def test_the_list_is_stored_without_the_text(tmp_path: Path) -> None:
    at = tmp_path / "purged.json"
    assert purged.load(at) == PurgeList()
    text = "the codename is nightingale"
    entries = PurgeList(
        (Fingerprint.of(text.encode()),), (r"ticket-\d{6}",), frozenset({("demo", "a b.py")}), frozenset({"0" * 40})
    )
    purged.save(at, entries)
    assert purged.load(at) == entries
    assert b"nightingale" not in at.read_bytes()
    assert at.stat().st_mode & 0o077 == 0
    data = f"x = 1  # {text}, ticket-123456\n".encode()
    masked, count = entries.mask(data)
    assert masked == f"x = 1  # {'*' * len(text)}, {'*' * 13}\n".encode()
    assert count == 2
    assert entries.skips("demo", "a b.py", "")
    assert entries.skips("other", "x.py", "0" * 40)
    assert not entries.skips("other", "a b.py", "1" * 40)


def test_masks_keep_line_breaks() -> None:
    masked, _ = PurgeList((Fingerprint.of(b"one\ntwo"),)).mask(b"zero one\ntwo three")
    assert masked == b"zero ***\n*** three"


@pytest.mark.parametrize(
    ("data", "pattern", "shown"),
    [
        (_LINE, "password", f'******** = "{"*" * len(PASSWORD)}"  # of ada'),
        (_LINE, PASSWORD[3:7], f'password = "{"*" * len(PASSWORD)}"  # of ada'),
        (_LINE, f"password = .{PASSWORD[:4]}", f'{"*" * (12 + len(PASSWORD))}"  # of ada'),
        (_LINE, f"{PASSWORD[-4:]}.  # of", f'password = "{"*" * (len(PASSWORD) + 7)} ada'),
        (f"begin\n{_LINE}\nend of it", "(?s)n\n.*\nend", f"begi*\n{'*' * len(_LINE)}\n*** of it"),
        (_KEY, "BEGIN RSA PRIVATE KEY", "-----" + "*" * 21 + "-----"),
    ],
    ids=["the name", "within the value", "over its start", "over its end", "over its lines", "the mark of a key"],
)
def test_a_purged_text_and_a_secret_hide_neither_from_the_other(data: str, pattern: str, shown: str) -> None:
    masked, count = redact_bytes(data.encode(), PurgeList(patterns=(pattern,)).spans(data.encode()))
    assert masked.decode().startswith(shown)
    assert count == 2
    assert not any(line in masked.decode() for line in (PASSWORD, *_KEY.splitlines()[1:-1]))
    assert list(map(len, masked.split(b"\n"))) == list(map(len, data.encode().split(b"\n")))


@pytest.mark.parametrize(
    ("pattern", "shown"),
    [("f.", "***r 10 € or"), (r"\x82", "für 10 *** or"), (r"\xac o", "für 10 *****r")],
    ids=["its end", "its middle", "its start"],
)
def test_a_pattern_that_cuts_a_character_takes_all_of_it(pattern: str, shown: str) -> None:
    assert PurgeList(patterns=(pattern,)).mask("für 10 € or".encode())[0].decode() == shown


@pytest.mark.parametrize(
    ("data", "pattern", "shown"),
    [
        (b"5\xa0\xa0x", "5", b"*\xa0\xa0x"),
        (b"one\n\xa35", r"\xa35", b"one\n**"),
        (b"\xe2\x82", r"\x82", b"\xe2*"),
        (b"\x80" * 9, r"^\x80", b"*" + b"\x80" * 8),
    ],
)
def test_a_byte_that_is_no_utf8_is_masked_alone(data: bytes, pattern: str, shown: bytes) -> None:
    assert PurgeList(patterns=(pattern,)).mask(data)[0] == shown


def test_an_empty_text_has_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="empty"):
        Fingerprint.of(b"")
