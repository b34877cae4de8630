"""The vector cache returns what was stored, notices damage, and refuses a foreign contract."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codeintel_core.embedding.cache import VectorCache
from codeintel_core.embedding.contract import EmbeddingContract
from codeintel_core.errors import ContractMismatch, StorageFailed

CONTRACT = EmbeddingContract("m", "r", 8, "fp32", "mean", True, "", "", 16, 1)


def keys(*numbers: int) -> list[str]:
    return [f"{n:032x}" for n in numbers]


def vectors(*numbers: int) -> np.ndarray:
    return np.stack([np.random.default_rng(n).standard_normal(8) for n in numbers]).astype(np.float32)


def test_round_trip_keeps_order_duplicates_and_gaps(tmp_path: Path) -> None:
    with VectorCache(tmp_path, CONTRACT) as cache:
        cache.put_many(keys(1, 2, 3), vectors(1, 2, 3))
    with VectorCache(tmp_path, CONTRACT) as cache:
        found = cache.get_many(keys(3, 9, 1, 3))
        assert found.present.tolist() == [True, False, True, True]
        np.testing.assert_array_equal(found.matrix[[0, 2, 3]], vectors(3, 1, 3))
        assert not found.matrix[1].any()
        assert cache.get_many([]).matrix.shape == (0, 8)


def test_more_keys_than_one_statement_takes(tmp_path: Path) -> None:
    numbers = list(range(1, 1_301))
    with VectorCache(tmp_path, CONTRACT) as cache:
        cache.put_many(keys(*numbers), vectors(*numbers))
        found = cache.get_many(keys(*reversed(numbers)))
        assert cache.known(keys(*range(2_000))) == {*keys(*numbers)}
    np.testing.assert_array_equal(found.matrix, vectors(*reversed(numbers)))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = zeroblob(32) WHERE key = x'00000000000000000000000000000001'",
        "UPDATE vectors SET vector = x'00' WHERE key = x'00000000000000000000000000000001'",
        "UPDATE vectors SET crc32 = crc32 + 1 WHERE key = x'00000000000000000000000000000001'",
    ],
)
def test_a_damaged_row_is_missing_and_counted(tmp_path: Path, damage: str) -> None:
    with VectorCache(tmp_path, CONTRACT) as cache:
        cache.put_many(keys(1, 2), vectors(1, 2))
    with sqlite3.connect(tmp_path / "vectors.sqlite") as db:
        db.execute(damage)
    with VectorCache(tmp_path, CONTRACT) as cache:
        found = cache.get_many(keys(1, 2))
        assert (found.present.tolist(), found.damaged) == ([False, True], 1)
        assert not found.matrix[0].any()
        cache.put_many(keys(1), vectors(1))
        assert cache.get_many(keys(1)).present.all()


def test_another_contract_is_refused_by_field(tmp_path: Path) -> None:
    VectorCache(tmp_path, CONTRACT).close()
    with pytest.raises(ContractMismatch, match="precision"):
        VectorCache(tmp_path, replace(CONTRACT, precision="int8"))


def test_a_contract_of_another_version_is_refused(tmp_path: Path) -> None:
    VectorCache(tmp_path, CONTRACT).close()
    with sqlite3.connect(tmp_path / "vectors.sqlite") as db:
        db.execute("""UPDATE meta SET value = '{"model": "m", "new_field": 1}'""")
    with pytest.raises(ContractMismatch, match="delete the folder"):
        VectorCache(tmp_path, CONTRACT)


def test_vectors_of_another_shape_are_refused(tmp_path: Path) -> None:
    with VectorCache(tmp_path, CONTRACT) as cache, pytest.raises(ContractMismatch):
        cache.put_many(keys(1), np.zeros((1, 9), np.float32))


def test_a_failed_put_stores_nothing(tmp_path: Path) -> None:
    with VectorCache(tmp_path, CONTRACT) as cache:
        cache._db.execute("PRAGMA max_page_count = 8")  # a full disk
        with pytest.raises(StorageFailed, match="free space"):
            cache.put_many(keys(*range(5_000)), np.zeros((5_000, 8), np.float32))
        assert not cache.get_many(keys(*range(5_000))).present.any()
        cache.put_many(keys(1), vectors(1))


def test_a_file_that_is_no_cache_names_the_fix(tmp_path: Path) -> None:
    (tmp_path / "vectors.sqlite").write_bytes(b"not a database" * 1_000)
    with pytest.raises(StorageFailed, match="delete the folder"):
        VectorCache(tmp_path, CONTRACT)


def test_a_new_file_that_another_process_just_makes_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses to turn it into WAL meanwhile, at once."""
    with closing(sqlite3.connect(tmp_path / "vectors.sqlite", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE made_meanwhile (x)")
        made = threading.Timer(0.1, other.execute, ["COMMIT"])
        made.start()
        with VectorCache(tmp_path, CONTRACT) as cache:
            made.join()
            cache.put_many(keys(1), vectors(1))
            assert cache.get_many(keys(1)).present.all()


@pytest.mark.e2e
def test_processes_open_and_write_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, numpy as np\n"
        "from codeintel_core.embedding.cache import VectorCache\n"
        "from codeintel_core.embedding.contract import EmbeddingContract\n"
        "contract = EmbeddingContract('m', 'r', 8, 'fp32', 'mean', True, '', '', 16, 1)\n"
        "with VectorCache(pathlib.Path(sys.argv[1]), contract) as cache:\n"
        "    for n in range(200):\n"
        "        cache.put_many([f'{n:032x}', sys.argv[2] + f'{n:031x}'], np.full((2, 8), n, np.float32))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    everything = keys(*range(200)) + [f"{name}{n:031x}" for name in "abc" for n in range(200)]
    with VectorCache(tmp_path, CONTRACT) as cache:
        found = cache.get_many(everything)
    assert found.present.all()
    assert (found.matrix[:, 0] == np.tile(np.arange(200), 4)).all()
