"""Lists of files that are kept in memory: bounded over all generations, and gone with theirs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from codeintel_core.catalog import Catalog
from codeintel_core.chunking.rows import FileRow
from codeintel_core.generations import generation as generations
from codeintel_core.generations.generation import Generation
from codeintel_core.generations.kept import Kept
from codeintel_core.home import Home
from codeintel_core.scope import Scope

A, B = object(), object()


def test_all_owners_together_have_one_bound() -> None:
    kept = Kept[Sequence[int]](250)
    kept.keep(A, "x", [1])
    kept.keep(B, "x", [2])
    assert (kept.get(A, "x"), kept.get(B, "x")) == ([1], [2])
    kept.keep(B, "none of them", [])
    assert kept.get(A, "x") is None, "asked for longest ago"
    kept.keep(A, "all", range(200))
    assert kept.get(A, "all") is None
    assert kept.get(B, "x") == [2]


def test_a_closed_generation_keeps_no_lists(home: Home, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists, by_path = Kept[Sequence[FileRow]](10_000), Kept[dict[str, FileRow]](10_000)
    monkeypatch.setattr(generations, "_lists", lists)
    monkeypatch.setattr(generations, "_by_path", by_path)
    opened = Generation.open(published, home.repository(published.parent.parent.name).mirror)
    found = opened.catalog.files(Scope(), readable=True)
    assert opened.files(Scope(), readable=True) == found
    assert opened.file(found[0].path) == found[0]
    monkeypatch.delattr(Catalog, "files")
    assert opened.files(Scope(repos=("any",)), readable=True) == found
    assert opened.file(found[-1].path) == found[-1]
    assert opened.file("nowhere.py") is None
    opened.retire()
    assert not [*lists._lists, *by_path._lists]
