"""The array of chunk ids beside a Lucene index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from codeintel_core.deadline import Deadline
from codeintel_core.errors import LexicalUnavailable
from codeintel_core.indexes import doc_ids, lexical
from codeintel_core.indexes.lexical import LexicalDocument, LexicalIndex, LexicalSearcher
from codeintel_core.scope import Scope


def _documents(ids: range) -> list[LexicalDocument]:
    return [LexicalDocument(i, [f"only{i}", "all"], f"src/{i}.py", "python", "source") for i in ids]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index of three segments, in which every third document was deleted."""
    lexical.write(tmp_path / "first", add=_documents(range(100, 110)))
    lexical.link_segments(tmp_path / "first", tmp_path / "second")
    lexical.write(tmp_path / "second", add=_documents(range(110, 115)), delete=range(100, 110, 3))
    lexical.link_segments(tmp_path / "second", tmp_path / "third")
    lexical.write(tmp_path / "third", add=_documents(range(115, 120)), delete=range(112, 115, 3))
    return tmp_path / "third"


def _found(index: LexicalIndex) -> list[int]:
    searcher, every = LexicalSearcher([index]), range(100, 120)
    asked = [searcher.search([(f"only{i}", 1.0)], 5, Scope(), Deadline.after(60))[0].tolist() for i in every]
    return [found for (found,) in filter(None, asked)]


def test_every_document_that_is_there_is_its_chunk(folder: Path) -> None:
    index = LexicalIndex(folder)
    live = [i for i in range(100, 120) if i not in {100, 103, 106, 109, 112}]
    assert _found(index) == live
    assert set(live) < set(index.chunk_ids.tolist())
    assert LexicalIndex(folder.with_name("first")).chunk_ids.tolist() == [*range(100, 110)]  # a child changes no parent


def test_an_index_of_an_older_version_is_asked(folder: Path) -> None:
    written = np.array(LexicalIndex(folder).chunk_ids)
    _file(folder).unlink()
    assert LexicalIndex(folder).chunk_ids.tolist() == written.tolist()


def test_an_array_of_another_index_is_refused(folder: Path) -> None:
    _file(folder).write_bytes(_file(folder.with_name("first")).read_bytes())
    with pytest.raises(LexicalUnavailable, match="has 10 documents, the Lucene index"):
        LexicalIndex(folder)
    _file(folder).write_bytes(b"nothing")
    with pytest.raises(LexicalUnavailable, match="cannot be opened"):
        LexicalIndex(folder)


def test_the_size_of_the_array_tells_the_documents(folder: Path, tmp_path: Path) -> None:
    count = len(LexicalIndex(folder).chunk_ids)
    assert count <= doc_ids.count(folder) <= count + 16  # with the head of the file
    assert doc_ids.count(tmp_path / "missing") == 0


def test_an_array_of_an_older_commit_does_not_count(folder: Path) -> None:
    written = LexicalIndex(folder).chunk_ids.tolist()
    stale = _file(folder).rename(folder / f"{doc_ids.PREFIX}segments_1.npy")  # as hard-linked by an older version
    assert LexicalIndex(folder).chunk_ids.tolist() == written
    lexical.write(folder, add=_documents(range(200, 202)))
    assert not stale.exists()
    assert LexicalIndex(folder).chunk_ids.tolist()[-2:] == [200, 201]


def test_what_is_merged_when_the_writer_closes_is_numbered_anew(tmp_path: Path) -> None:
    """Lucene merges what has many deletions after the commit, if it is not tiny: megabytes."""
    documents = [
        LexicalDocument(i, [f"only{i}", *(f"w{i * 500 + j}" for j in range(500))], "a.py", "python", "source")
        for i in range(1_500)
    ]
    lexical.write(tmp_path / "parent", add=documents)
    lexical.link_segments(tmp_path / "parent", tmp_path / "child")
    lexical.write(tmp_path / "child", add=_documents(range(2_000, 2_010)), delete=range(900))
    index = LexicalIndex(tmp_path / "child")
    assert index.reader.maxDoc() == 610  # merged
    assert index.reader.getIndexCommit().getSegmentsFileName() in _file(tmp_path / "child").name
    assert sorted(index.chunk_ids.tolist()) == [*range(900, 1_500), *range(2_000, 2_010)]


def _file(folder: Path) -> Path:
    (found,) = folder.glob(f"{doc_ids.PREFIX}*")
    return found
