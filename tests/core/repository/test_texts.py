"""Texts in memory: a bound, and what a new purge list does to them."""

from __future__ import annotations

from codeintel_core.repository.texts import KeptTexts

MIRROR, NAME = "/mirrors/a", ("/mirrors/a", "b10b", "utf-8")


def test_a_new_purge_list_forgets_all_and_what_was_masked_by_the_old_one_is_not_kept() -> None:
    texts = KeptTexts()
    assert texts.known(MIRROR, None, [NAME]) == [None]
    texts.keep(MIRROR, None, NAME, b"secret")
    assert texts.known(MIRROR, None, [NAME]) == [b"secret"]
    assert texts.known(MIRROR, (1,), [NAME]) == [None]
    texts.keep(MIRROR, None, NAME, b"secret")  # by who began before
    assert texts.known(MIRROR, (1,), [NAME]) == [None]
    assert texts.known(MIRROR, None, [NAME]) == [None]


def test_mirrors_and_encodings_have_their_own_and_bytes_are_bounded() -> None:
    texts = KeptTexts(10)
    other = "/mirrors/b"
    of_other, large = (other, *NAME[1:]), (MIRROR, "large", "utf-8")
    assert texts.known(MIRROR, None, [NAME]) == [None]
    assert texts.known(other, None, [of_other]) == [None]
    texts.keep(MIRROR, None, NAME, b"1234")
    assert texts.known(other, None, [of_other]) == [None]
    assert texts.known(MIRROR, None, [(MIRROR, "b10b", "latin-1")]) == [None]
    texts.keep(MIRROR, None, large, b"x" * 11)
    assert texts.known(MIRROR, None, [NAME, large]) == [b"1234", None]
    texts.keep(other, None, of_other, b"12345")
    assert texts.known(MIRROR, None, [NAME]) == [b"1234"]  # now the last that was used
    texts.keep(other, None, (other, "c", ""), b"1")
    texts.keep(other, None, (other, "d", ""), b"1")
    assert texts.known(other, None, [of_other, NAME, (other, "d", "")]) == [None, b"1234", b"1"]
