"""Identity: ids depend on every field and on nothing else, stay inside 63 bits and never collide by concatenation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from codeintel_core import identity

_FIELDS = st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.integers(0, 3))


@given(st.lists(_FIELDS, unique=True, min_size=2, max_size=20))
def test_chunk_ids_are_unique_and_fit_an_int64(fields: list[tuple[str, str, str, int]]) -> None:
    ids = [identity.chunk_id(*each) for each in fields]
    assert len(set(ids)) == len(fields)
    assert all(0 <= chunk_id < 2**63 for chunk_id in ids)


def test_fields_do_not_run_into_each_other() -> None:
    assert identity.chunk_id("a", "bc", "", 0) != identity.chunk_id("ab", "c", "", 0)
    assert identity.text_key("a", "bc") != identity.text_key("ab", "c")
    assert identity.contract_id(["a", "b"]) != identity.contract_id(["ab"])


def test_ids_are_the_same_in_every_process_and_version() -> None:
    """Changing these silently would orphan every cache and index: raise a version instead."""
    assert identity.chunk_id("demo", "src/a.py", "x = 1\n", 0) == 2785784387635865196
    assert identity.text_key("c", "x = 1\n") == "496b96ed5c8308fb9588f6b7909d700b"


def test_generation_ids_sort_by_time_even_within_a_second_and_never_repeat() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    earlier, later = identity.new_gen_id(at, "f" * 40), identity.new_gen_id(at + timedelta(milliseconds=1), "0" * 40)
    assert earlier < later
    assert len({identity.new_gen_id(at, "f" * 40) for _ in range(50)}) > 45
