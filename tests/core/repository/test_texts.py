"""Texts in memory: a bound, and what a new purge list does to them."""

from __future__ import annotations

from pathlib import Path

from codeintel_core.repository.texts import KeptTexts

MIRROR, NAME = Path("/mirrors/a"), ("b10b", "utf-8")


def test_a_new_purge_list_forgets_all_and_what_was_masked_by_the_old_one_is_not_kept() -> None:
    texts = KeptTexts()
    assert texts.known(MIRROR, None, [NAME]) == {}
    texts.keep(MIRROR, None, NAME, b"secret")
    assert texts.known(MIRROR, None, [NAME]) == {NAME: b"secret"}
    assert texts.known(MIRROR, (1,), [NAME]) == {}
    texts.keep(MIRROR, None, NAME, b"secret")  # by who began before
    assert texts.known(MIRROR, (1,), [NAME]) == {}
    assert texts.known(MIRROR, None, [NAME]) == {}


def test_mirrors_and_encodings_have_their_own_and_bytes_are_bounded() -> None:
    texts = KeptTexts(10)
    other = Path("/mirrors/b")
    for mirror in (MIRROR, other):
        assert texts.known(mirror, None, [NAME]) == {}
    texts.keep(MIRROR, None, NAME, b"12345")
    assert texts.known(other, None, [NAME]) == {}
    assert texts.known(MIRROR, None, [("b10b", "latin-1")]) == {}
    texts.keep(MIRROR, None, ("large", "utf-8"), b"x" * 11)
    assert NAME in texts.known(MIRROR, None, [NAME])
    texts.keep(other, None, NAME, b"123456")
    assert texts.known(MIRROR, None, [NAME]) == {}
