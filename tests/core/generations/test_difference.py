"""The difference of two generations: every chunk of both is in exactly one list, and a move is a move."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from codeintel_core.generations.difference import Place, difference
from tests.core import specimen

_TEXTS = ("def a():\n    pass\n", "def b():\n    pass\n", "def c():\n    return 1\n")
_BEFORE = {"x.py": {"a": _TEXTS[0], "b": _TEXTS[1]}}

trees = st.dictionaries(
    st.sampled_from(["x.py", "y.py", "lib/z.py"]), st.lists(st.sampled_from(_TEXTS), min_size=1, max_size=4), max_size=3
)


def _write(folder: Path, files: specimen.Files) -> Path:
    folder.mkdir()
    pq.write_table(specimen.tables("demo", files)[0], folder / "chunks.parquet")
    return folder


def test_added_removed_moved_and_unchanged(tmp_path: Path) -> None:
    old = _write(tmp_path / "old", {**_BEFORE, "gone.py": {"c": _TEXTS[2]}})
    new = _write(tmp_path / "new", {"x.py": {"n": "def n():\n    pass\n", **_BEFORE["x.py"]}, "y.py": {"a": _TEXTS[0]}})
    found = difference(old, new)
    assert found.added == [Place("x.py", 1, 2, "n"), Place("y.py", 1, 2, "a")]
    assert found.removed == [Place("gone.py", 1, 2, "c")]
    assert found.moved == [
        (Place("x.py", 1, 2, "a"), Place("x.py", 3, 4, "a")),
        (Place("x.py", 3, 4, "b"), Place("x.py", 5, 6, "b")),
    ]
    assert found.unchanged == 0


def test_a_rename_is_all_moves(tmp_path: Path) -> None:
    found = difference(_write(tmp_path / "old", _BEFORE), _write(tmp_path / "new", {"y.py": _BEFORE["x.py"]}))
    assert (found.added, found.removed, found.unchanged) == ([], [], 0)
    assert [(before.path, after.path) for before, after in found.moved] == [("x.py", "y.py")] * 2


@settings(max_examples=60)
@given(trees, trees)
def test_every_chunk_is_counted_once(before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    def files(tree: dict[str, list[str]]) -> specimen.Files:
        return {path: {f"s{n}": text for n, text in enumerate(texts)} for path, texts in tree.items()}

    with tempfile.TemporaryDirectory() as folder:
        old, new = _write(Path(folder, "old"), files(before)), _write(Path(folder, "new"), files(after))
        found, back = difference(old, new), difference(new, old)
    texts_before, texts_after = (Counter(t for texts in tree.values() for t in texts) for tree in (before, after))
    stayed = len(found.moved) + found.unchanged
    assert stayed + len(found.removed) == texts_before.total()
    assert stayed + len(found.added) == texts_after.total()
    assert stayed == (texts_before & texts_after).total()  # as many moves as the texts allow
    assert (len(back.added), len(back.removed), len(back.moved)) == (
        len(found.removed), len(found.added), len(found.moved),
    )  # fmt: skip
