"""Rows that wait on disk: any selection of them comes back, nothing of them stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codeintel_pipelines.build.spill import Spill

_SCHEMA = pa.schema([("path", pa.string()), ("line", pa.int32())])
_LINES = st.lists(st.tuples(st.integers(0, 99), st.booleans()), max_size=8)


@given(batches=st.lists(_LINES, max_size=5))
def test_what_is_wanted_comes_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[tuple[int, bool]]]
) -> None:
    path = tmp_path_factory.mktemp("spill") / "rows.arrow"
    every = [row for batch in batches for row in batch]
    with Spill(path, _SCHEMA) as spill:
        for batch in batches:
            spill.add(
                pa.table({"path": [f"{line}.py" for line, _ in batch], "line": [line for line, _ in batch]}, _SCHEMA)
            )
        assert spill.column("line").to_pylist() == [line for line, _ in every]
        found = spill.rows(np.array([is_wanted for _, is_wanted in every], bool))
    assert found.schema == _SCHEMA
    assert found["line"].to_pylist() == [line for line, is_wanted in every if is_wanted]
    assert not path.exists()


def test_what_waits_is_not_in_memory(tmp_path: Path) -> None:
    rows = pa.table({"path": ["x" * 1_000] * 10_000, "line": range(10_000)}, _SCHEMA)
    size = rows.nbytes
    with Spill(tmp_path / "rows.arrow", _SCHEMA) as spill:
        spill.add(rows)
        del rows
        before = pa.total_allocated_bytes()
        assert len(spill.column("line")) == 10_000
        found = spill.rows(np.arange(10_000) % 1_000 == 0)
        assert pa.total_allocated_bytes() - before < size // 10
        assert found["line"].to_pylist() == list(range(0, 10_000, 1_000))


def test_a_stage_that_fails_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    path.write_bytes(b"of an interrupted build")
    with pytest.raises(KeyError), Spill(path, _SCHEMA) as spill:
        spill.column("unknown")
    assert not path.exists()
