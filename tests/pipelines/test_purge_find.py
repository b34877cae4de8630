"""Where a purge finds what it is to remove."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import schemas
from codeintel_core.home import Home, RepositoryHome
from codeintel_core.repository import mirror
from codeintel_pipelines.purge import find, needle
from codeintel_pipelines.purge.find import Target
from tests.conftest import GitRepo
from tests.core import specimen

PATH = "src/ledger.py"
FILES = {PATH: specimen.FILES[PATH]}


def chunks(folder: Path, blob: str, data: bytes) -> Path:
    """A generation's chunks.parquet: the chunks of a file as they are in `data`."""
    rows = [
        row | {"blob": blob, "text": data[row["start_byte"] : row["end_byte"]].decode()}
        for row in specimen.chunk_rows("demo", FILES)
    ]
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows, schema=schemas.CHUNKS), folder / "chunks.parquet")
    return folder


def symbols(repository: RepositoryHome, folder: Path, pattern: str) -> list[str]:
    target = Target(needle.of_pattern(pattern))
    found = list(find.dirty_chunks(repository, folder, target))
    assert find.is_dirty(repository, folder, target) == bool(found)
    assert all(words for _, words in found)
    return [row["symbol"] for row, _ in found]


def found_in(repository: RepositoryHome, folder: Path, pattern: str) -> list[set[str]]:
    return [words for _, words in find.dirty_chunks(repository, folder, Target(needle.of_pattern(pattern)))]


def test_a_match_over_the_end_of_a_chunk_is_in_all_that_show_a_part_of_it(tmp_path: Path, git_repo: GitRepo) -> None:
    source = git_repo(specimen.sources(FILES), name="demo")
    home = Home(tmp_path / "home")
    mirror.add(home, str(source.path), name="demo")
    repository, blob = home.repository("demo"), source.git("rev-parse", f"HEAD:{PATH}")
    data = specimen.sources(FILES)[PATH].encode()
    shown = chunks(tmp_path / "shown", blob, data)
    across = r"(?s)[o]nly lines.*def torn"
    assert symbols(repository, shown, across) == ["Ledger", "Ledger.append", "torn_lines"]
    assert symbols(repository, shown, r"'''\n") == ["Ledger"]
    assert symbols(repository, shown, r"lines\.'''\n\n") == []
    said = dict(zip(symbols(repository, shown, across), found_in(repository, shown, across), strict=True))
    assert said["Ledger"] == {"only lines.'''\n"}
    masked = chunks(tmp_path / "masked", blob, needle.of_pattern(across).mask(data))
    assert symbols(repository, masked, across) == []
    repository.mirror.rename(tmp_path / "gone.git")  # must not keep anything else from being purged
    assert found_in(repository, shown, across) == []
    assert symbols(repository, shown, "torn_line[s]") == ["torn_lines"]
