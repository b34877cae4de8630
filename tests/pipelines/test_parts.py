"""Tables in parts: a change rewrites the parts it falls into, and together they are what a full rebuild writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import fake_encoder, plain_build
from codeintel_core.generations.manifest import Manifest
from codeintel_core.home import Home
from codeintel_core.indexes import jvm
from codeintel_core.repository import mirror
from codeintel_core.settings import Settings
from codeintel_pipelines.build import ingest, parts, vectors
from tests.conftest import Repo
from tests.pipelines.conftest import tables

_TABLES = ("chunks.parquet", "symbols.parquet", "embeddings.parquet")


@given(chunks=st.integers(0, 10_000_000), before=st.sampled_from([0, *(2**power for power in range(11))]))
def test_the_number_of_parts_follows_the_chunks_slowly(chunks: int, before: int) -> None:
    fresh, kept = parts.count_for(chunks), parts.count_for(chunks, before)
    assert 1 <= fresh <= 1024
    assert fresh & (fresh - 1) == 0
    assert kept == (before if before and fresh <= 4 * before and before <= 4 * fresh else fresh)


def test_a_path_stays_in_its_part() -> None:
    assert [parts.part_of(path, 8) for path in ("src/a.py", "é.txt", "")] == [3, 4, 0]


@pytest.mark.e2e
@pytest.mark.parametrize("is_large", [False, True], ids=["at once", "in groups"])
def test_a_small_change_rewrites_its_part_and_growth_a_new_layout(
    home: Home, source: Repo, monkeypatch: pytest.MonkeyPatch, is_large: bool
) -> None:
    """Also of tables that are larger than what is held in memory, compared with a full rebuild that holds all."""
    mirror.add(home, str(source.path), name="calculator")
    settings = Settings(home=home.root)

    def build(*, force: bool = False) -> tuple[Manifest, Path]:
        with fake_encoder.used_by_builds(), monkeypatch.context() as patch:
            if is_large and not force:
                patch.setattr(ingest, "_ROWS_AT_ONCE", {"chunks": 100, "symbols": 150})  # a fraction of what is there
                patch.setattr(vectors, "_CHUNKS_AT_ONCE", 100)
            manifest = plain_build.build(home, settings, "calculator", force=force)
        return manifest, tables(home, manifest)

    expected: list[int] = []
    monkeypatch.setattr(jvm, "expect", expected.append)  # the JVM of this process has started, so it shows no effect
    first, small = build()
    assert expected == [first.counts.chunks]
    assert len(parts.files(small / "chunks.parquet")) == 1
    source.commit({f"src/m{number}.py": _functions(number, 0) for number in range(300)})
    grown, large = build()  # four times too few parts: written anew
    assert 512 < grown.counts.chunks <= 1_024
    assert len(parts.files(large / "chunks.parquet")) == 8
    source.commit({"src/m7.py": _functions(7, 1)})
    changed, folder = build()
    part = parts.names(8)[parts.part_of("src/m7.py", 8)]
    for table in _TABLES:
        written, replaced = parts.replaced(folder / table, large / table)
        assert [path.name for path in written] == [path.name for path in replaced] == [part]
    assert (folder / "catalog.duckdb").samefile(large / "catalog.duckdb")
    assert changed.counts.secondary == changed.counts.tombstones == 1
    source.commit({"src/m8.py": None})
    removed, folder = build()
    full, whole = build(force=True)
    assert removed.counts.chunks == full.counts.chunks
    assert removed.counts.symbols == full.counts.symbols
    for table in (*_TABLES, "files.parquet"):
        rows, expected = (sorted(map(str, pq.read_table(at / table).to_pylist())) for at in (folder, whole))
        assert rows == expected, table


def _functions(number: int, limit: int) -> str:
    return "\n\n".join(
        f"def part_{number}_{place}(rows, limit={limit if place == 0 else 0}):\n    return rows[limit:{place + 1}]\n"
        for place in range(11)
    )
