"""The checks of staged tables find what is wrong in any part."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks import fake_encoder, plain_build
from codeintel_core.home import Home
from codeintel_core.indexes.dense import PRIMARY
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_pipelines.build import parts, verify
from codeintel_pipelines.build.plan import Build, Plan
from codeintel_pipelines.build.verify import Verdict
from tests.conftest import Repo

pytestmark = pytest.mark.e2e
Spoil = Callable[[pa.Table], pa.Table]


@pytest.fixture
def built(home: Home, source: Repo) -> Build:
    """A build whose folder is a published generation without a parent."""
    source.commit({f"src/m{number}.py": f"def part_{number}(rows):\n    return rows\n" for number in range(300)})
    mirror.add(home, str(source.path), name="calculator")
    settings = Settings(home=home.root)
    with fake_encoder.used_by_builds():
        manifest = plain_build.build(home, settings, "calculator")
    plan = Plan("calculator", manifest.commit, "main", manifest.gen_id, reuse=False, up_to_date=True, created_at="")
    return Build(home, settings, plan)


def _with(column: str, change: Callable[[pa.ChunkedArray], pa.Array]) -> Spoil:
    return lambda rows: rows.set_column(
        rows.column_names.index(column), rows.schema.field(column), change(rows[column])
    )


def _vectors(change: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    def changed(column: pa.ChunkedArray) -> pa.Array:
        kind = column.type
        return pa.FixedSizeListArray.from_arrays(
            pa.array(change(column.combine_chunks().flatten().to_numpy())), kind.list_size
        ).cast(kind)

    return _with("vector", changed)


@pytest.mark.parametrize(
    ("check", "table", "spoil"),
    [
        (verify.spans_inside_files, "chunks", _with("end_line", lambda lines: pc.add(lines, 1_000).cast(pa.int32()))),
        (verify.spans_inside_files, "chunks", _with("start_byte", lambda starts: pc.negate(pc.add(starts, 1)))),
        (verify.vectors_follow_contract, "embeddings", _vectors(lambda values: values * np.float32(1.1))),
        (verify.vectors_follow_contract, "embeddings", _vectors(lambda values: np.full_like(values, np.nan))),
        (verify.vectors_follow_contract, "embeddings", _with("chunk_id", lambda ids: pc.add(ids, 1))),
    ],
    ids=["lines", "bytes", "norm", "nan", "ids"],
)
def test_a_wrong_part_is_found(built: Build, check: Callable[[Build], Verdict], table: str, spoil: Spoil) -> None:
    assert check(built).passed
    every = parts.files(built.folder / f"{table}.parquet")
    assert len(every) > 1
    pq.write_table(spoil(pq.read_table(every[-1])), every[-1])
    assert not check(built).passed


def test_ids_that_do_not_add_up_are_found(built: Build) -> None:
    """A vector twice, one of a chunk that is not there, and one that is said to be gone."""
    assert verify.dense_adds_up(built).passed
    folder = built.folder / "dense"
    right = np.load(folder / f"{PRIMARY}_ids.npy")
    for last in (right[-2], right[-1] + 1):
        np.save(folder / f"{PRIMARY}_ids.npy", np.append(right[:-1], last))
        assert not verify.dense_adds_up(built).passed
    np.save(folder / f"{PRIMARY}_ids.npy", right)
    gone = pq.read_schema(folder / "tombstones.parquet")
    pq.write_table(pa.table({"chunk_id": right[:1]}, gone), folder / "tombstones.parquet")
    assert not verify.dense_adds_up(built).passed
