"""Rows of a mapped Arrow file: what is taken is what was written, in the order of the keys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from codeintel_core import mapped_rows
from codeintel_core.mapped_rows import MappedRows

_ROWS = pa.table(
    {
        "key": pa.array([5, 1, 3, 3], pa.int64()),
        "text": pa.array(["five", "", "dréi", "3 \U0001f600"], pa.string()),
        "long": pa.array(["e" * 70_000, "1", "", "ö"], pa.large_string()),
        "line": pa.array([50, 10, 30, 31], pa.int32()),
        "missing": pa.array(["x", None, "y", None], pa.string()),
        "ratio": pa.array([0.5, 0.1, 0.3, 0.31], pa.float64()),
    }
)


@pytest.mark.parametrize("keys", [[], [2], [1], [3], [5, 3, 4, 1], [-1, 9]])
def test_values_are_those_of_the_arrow_rows_whatever_their_type(tmp_path: Path, keys: list[int]) -> None:
    mapped_rows.write(tmp_path / "rows.arrow", _ROWS, "key")
    rows, columns = MappedRows(tmp_path / "rows.arrow", "key"), _ROWS.column_names

    taken = rows.take(np.array(keys, np.int64), columns)

    wanted = [row for key in keys for row in _ROWS.to_pylist() if row["key"] == key]
    assert taken == [[row[name] for row in wanted] for name in columns]
    assert taken == [column.to_pylist() for column in rows.of(np.array(keys, np.int64), columns).columns]


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_a_column_without_any_text_gives_its_empty_values(tmp_path: Path, texts: list[str]) -> None:
    table = pa.table({"key": pa.array(range(len(texts)), pa.int64()), "text": pa.array(texts, pa.string())})
    mapped_rows.write(tmp_path / "rows.arrow", table, "key")

    assert MappedRows(tmp_path / "rows.arrow", "key").take(np.arange(5), ["text"]) == [texts]
