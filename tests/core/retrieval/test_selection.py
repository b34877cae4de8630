"""Selection and budget: no file and no copy takes places of others; wide queries read less."""

from __future__ import annotations

from codeintel_core.catalog import ChunkRow
from codeintel_core.retrieval.budget import budget
from codeintel_core.retrieval.profile import profile
from codeintel_core.retrieval.selection import select

_CHUNK = ChunkRow(0, "r", "x.py", "", "python", "source", "utf-8", "function", "", "", "", "", 1, 1, 0, 0, "")
_LONG = "def f(x):\n    return x + 1\n" * 5


def test_copies_in_other_files_and_repositories_collapse() -> None:
    chunks = {
        1: _CHUNK._replace(path="a.py", text=_LONG),
        2: _CHUNK._replace(path="fork/a.py", text=_LONG.replace("    ", "\t")),
        3: _CHUNK._replace(repo="fork", path="a.py", text=_LONG),
        4: _CHUNK._replace(path="b.py", text=_LONG + "y"),
    }
    assert select(chunks.values(), limit=9, per_file=9) == ([chunks[1], chunks[4]], 2, 0)
    assert select(chunks.values(), limit=9, per_file=9, collapse=False)[0] == list(chunks.values())


def test_short_chunks_may_repeat() -> None:
    chunks = [_CHUNK._replace(path=str(i), text="def __len__(self): ...") for i in range(3)]
    assert select(chunks, limit=9, per_file=9)[0] == chunks


def test_the_cap_and_the_limit() -> None:
    chunks = [_CHUNK._replace(chunk_id=i, path="a" if i < 4 else "b") for i in range(6)]
    assert select(chunks, limit=9, per_file=2) == ([chunks[i] for i in (0, 1, 4, 5)], 0, 2)
    rest = iter(chunks)
    assert select(rest, limit=1, per_file=2) == (chunks[:1], 0, 0)
    assert len(list(rest)) == 5, "it looked behind the last one that it shows"


def test_a_vague_question_looks_deeper_and_a_wide_one_reads_less() -> None:
    usual = budget(profile("torn lines of the ledger"), candidates=100, repositories=1, limit=10)
    vague = budget(profile("errors in python"), candidates=100, repositories=1, limit=10)
    wide = budget(profile("torn lines of the ledger"), candidates=100, repositories=200, limit=10)
    assert usual.depth == wide.depth == 100
    assert (vague.depth, usual.hydrated) == (200, 300)
    assert wide.hydrated < usual.hydrated
    assert "200 repositories" in wide.reason
